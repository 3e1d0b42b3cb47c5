"""What can be refused, each with a stable code, a public sentence and an HTTP status."""


class SettingsRefused(Exception):
    """A setting is missing or senseless; the text says what to do. Raised at start only."""


class ServiceError(Exception):
    """An expected refusal, safe to show to whoever asked.

    Attributes:
        code: Stable and in capitals; clients branch on it.
        field: The input field it is about, in GraphQL spelling, or None.
        message: One public sentence; never a secret, never another tenant's data.
        status: The HTTP status where the refusal is the whole answer.
    """

    code = "REFUSED"
    status = 400
    sentence = "The request was refused."

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        self.message = message or self.sentence
        self.field = field
        super().__init__(self.message)


class InvalidInput(ServiceError):
    """A value has the wrong form or size."""

    code = "INVALID_INPUT"
    sentence = "A value is not allowed here."


class Unauthenticated(ServiceError):
    """Nobody is signed in, or the credential is no longer valid."""

    code = "UNAUTHENTICATED"
    status = 401
    sentence = "Sign in or send a valid token."


class SignInFailed(ServiceError):
    """The e-mail address and the password do not belong together; which one is not told."""

    code = "SIGN_IN_FAILED"
    status = 401
    sentence = "The e-mail address or the password is not right."


class PasswordRequired(ServiceError):
    """This needs a person who is signed in and entered their password within ten minutes."""

    code = "PASSWORD_REQUIRED"
    status = 403
    sentence = "Enter your password again."


class LinkEnded(ServiceError):
    """The link to set a password was used, has ended, or is not the newest."""

    code = "LINK_ENDED"
    status = 410
    sentence = "This link can no longer be used. Ask for a new one."


class TooManyAttempts(ServiceError):
    """Signing in, links or invitations are paused for this person, account or address."""

    code = "TOO_MANY_ATTEMPTS"
    status = 429
    sentence = "Too many failed attempts. Try again in 15 minutes."


class TooManyStreams(ServiceError):
    """Too many subscriptions or exports are open: of a credential, an account, or in all."""

    code = "TOO_MANY_STREAMS"
    status = 429
    sentence = "Too many subscriptions or exports are open. Close some, or try again later."


class TooManyRequests(ServiceError):
    """The caller has spent its points; they are restored by the second, and nothing was done."""

    code = "TOO_MANY_REQUESTS"
    status = 429
    sentence = "You have asked for too much in a short time. Try again later."

    def __init__(self, retry_after_seconds: int = 1) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class CostExceeded(ServiceError):
    """The document asks for more at once than any may; the message tells the points."""

    code = "COST_EXCEEDED"
    sentence = "The document asks for too much at once."


class DocumentNotTrusted(ServiceError):
    """Only documents that are listed may run here, and this one is not, or its hash is wrong."""

    code = "DOCUMENT_NOT_TRUSTED"
    status = 403
    sentence = "This document is not one of those that may run here."


class InsufficientScope(ServiceError):
    """The credential is valid but lacks the scope (RFC 6750 §3.1)."""

    code = "INSUFFICIENT_SCOPE"
    status = 403
    sentence = "This token does not have the scope that the request needs."


class Forbidden(ServiceError):
    """This kind of caller may never do this, or nobody to their own account."""

    code = "FORBIDDEN"
    status = 403
    sentence = "This account may not do that."


class NotFound(ServiceError):
    """No such object within the caller's reach; a foreign one reads exactly the same."""

    code = "NOT_FOUND"
    status = 404
    sentence = "There is no such object."


class NameTaken(ServiceError):
    """Another token of the account that has not ended bears this name."""

    code = "NAME_TAKEN"
    status = 409
    sentence = "Another token of this account already has that name."


class EmailTaken(ServiceError):
    """The e-mail address already signs in somewhere."""

    code = "EMAIL_TAKEN"
    status = 409
    sentence = "That e-mail address cannot be used."


class TokenEnded(ServiceError):
    """The token is revoked or expired; what has ended is never changed again."""

    code = "TOKEN_ENDED"
    status = 409
    sentence = "The token has ended and cannot be changed."


class RotationInProgress(ServiceError):
    """The token is being rotated already; finish or cancel that, or rotate with no grace."""

    code = "ROTATION_IN_PROGRESS"
    status = 409
    sentence = "The token is being rotated. Finish or cancel that first, or allow no grace."


class NoRotation(ServiceError):
    """No rotation of the token is under way; it may have come to its end."""

    code = "NO_ROTATION"
    status = 409
    sentence = "The token is not being rotated."


class IdempotencyConflict(ServiceError):
    """The idempotency key was used for something else within ten minutes."""

    code = "IDEMPOTENCY_CONFLICT"
    status = 409
    sentence = "This idempotency key was used for another request. Choose a new one."


class LastOwner(ServiceError):
    """The account would be left without an owner who can sign in."""

    code = "LAST_OWNER"
    status = 409
    sentence = "An account keeps at least one owner who can sign in."


class VersionConflict(ServiceError):
    """Somebody else changed the object since it was read."""

    code = "VERSION_CONFLICT"
    status = 409
    sentence = "The object has changed since you read it. Read it again."


class SelectionChanged(ServiceError):
    """More tokens are selected than the caller expected; look again before changing them."""

    code = "SELECTION_CHANGED"
    status = 409
    sentence = "More tokens are selected by now than you expect. Do the dry run again."


class TooManyJobs(ServiceError):
    """The account has as many unfinished jobs as it may have; wait for one, or cancel one."""

    code = "TOO_MANY_JOBS"
    status = 429
    sentence = "Too many jobs are not finished yet. Wait for one or cancel one."


class WideningRefused(ServiceError):
    """An update would give a token more than it has."""

    code = "WIDENING_REFUSED"
    status = 403
    sentence = "An update can only narrow a token."


class ScopeNotGrantable(ServiceError):
    """A scope is unknown, or the account may not grant it."""

    code = "SCOPE_NOT_GRANTABLE"
    status = 403
    sentence = "A scope is unknown or cannot be granted by this account."


class TemplateNameTaken(ServiceError):
    """Another template of the account bears this name."""

    code = "TEMPLATE_NAME_TAKEN"
    status = 409
    sentence = "Another template of this account already has that name."


class PolicyViolation(ServiceError):
    """A token would break a rule that the platform, the reseller or the account has set."""

    code = "POLICY_VIOLATION"
    status = 403
    sentence = "A policy does not allow that."


class DelegationRefused(ServiceError):
    """The account has its reseller neither create nor rotate nor widen tokens on its behalf."""

    code = "DELEGATION_REFUSED"
    status = 403
    sentence = "This account does not let its reseller create, rotate or widen tokens for it."


class AccountClosed(ServiceError):
    """The account is closed for good; it is never suspended or resumed again."""

    code = "ACCOUNT_CLOSED"
    status = 409
    sentence = "The account is closed and cannot be changed."


class AccountInactive(ServiceError):
    """The account, or its reseller, is suspended or closed."""

    code = "ACCOUNT_INACTIVE"
    status = 403
    sentence = "The account is suspended or closed."


class Unavailable(ServiceError):
    """Neither cache nor database can answer; nothing is assumed. Try again."""

    code = "UNAVAILABLE"
    status = 503
    sentence = "The service cannot answer right now. Try again."


class TimedOut(Unavailable):
    """It took too long and was ended; what it was to change is changed as a whole or not at all."""

    code = "TIMEOUT"
    sentence = (
        "This took too long and was ended. What it was to change is changed as a whole or not at "
        "all: look, before you repeat it."
    )
