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


class TooManyAttempts(ServiceError):
    """Sign-in is paused for this account or address."""

    code = "TOO_MANY_ATTEMPTS"
    status = 429
    sentence = "Too many failed attempts. Try again in 15 minutes."


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


class VersionConflict(ServiceError):
    """Somebody else changed the object since it was read."""

    code = "VERSION_CONFLICT"
    status = 409
    sentence = "The object has changed since you read it. Read it again."


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
