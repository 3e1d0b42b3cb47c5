"""Query: the roots to read from, noun by noun."""

import strawberry

from schema.account_queries import AccountQueries
from schema.audit_queries import AuditQueries
from schema.fleet_queries import FleetQueries
from schema.job_queries import JobQueries
from schema.member_queries import MemberQueries
from schema.node_queries import NodeQueries
from schema.notice_queries import NoticeQueries
from schema.policy_queries import PolicyQueries
from schema.scope_template_queries import ScopeTemplateQueries
from schema.session_queries import SessionQueries
from schema.token_queries import TokenQueries


@strawberry.type(description="What can be read.")
class Query(
    AccountQueries,
    AuditQueries,
    FleetQueries,
    NodeQueries,
    JobQueries,
    TokenQueries,
    MemberQueries,
    SessionQueries,
    NoticeQueries,
    PolicyQueries,
    ScopeTemplateQueries,
):
    """The query root."""
