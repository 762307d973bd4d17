"""All errors of the registry's services; api/errors.py alone knows which HTTP status each one becomes.

RegistryError
 |- RepositoryNotFoundError      no such repository, or none that this caller may see
 |   |- RepositoryNotFoundAnonymouslyError   the same, for a caller without a token
 |   |- RepositoryMovedError     it has another name by now
 |   '- ElsewhereError           its namespace is unknown here, and may be known upstream
 |- GatedError                   a gated repository whose files the caller was not let in to
 |   '- GatedAnonymouslyError    the same, for a caller without a token
 |- RevisionNotFoundError        no such branch, tag or commit
 |- EntryNotFoundError           no such file or folder in a commit
 |- NamespaceNotFoundError       no such user or organisation, or none of whom this caller may see anything
 |- OrganisationNotFoundError    no such organisation, or none that this caller belongs to
 |- EvaluationSetNotFoundError   no such evaluation set or version of one, or none that this caller may see
 |   '- EvaluationSetNotFoundAnonymouslyError   the same, for a caller without a token
 |- RowsNotHereError             the rows of an evaluation set, which are not here
 |- UserNotFoundError            no such user
 |- WebhookNotFoundError         no such webhook, or none of a place that this caller is an admin of
 |- LastAdminError               an organisation that would be left without an admin
 |- InvalidTokenError            a token that is unknown or revoked, or has expired
 |   '- LoginEndedError          a login in a browser that has ended
 |- FormRefusedError             a form that was not sent from a page of this registry
 |- LoginRequiredError           an action that no anonymous caller may take
 |- PermissionDeniedError        a known caller without the right
 |- InvalidRequestError          a request that breaks the protocol or a limit of form
 |   '- UnsafePathError          a path in a commit that is not safe on every file system
 |- VersionRefusedError          a version or channel that may not be made, moved or removed so
 |- ContentRefusedError          a file of a kind that is not stored
 |- RepositoryExistsError        the repository is there already
 |- ReferenceExistsError         the branch or tag is there already
 |- EvaluationSetExistsError     the version of an evaluation set is there already, with other content
 |- NameTakenError               a new name that something has or had already
 |- NameRetiredError             the name belonged to a deleted repository
 |- StaleParentError             the branch moved since the caller looked
 |- OAuthError                   a token that OAuth's endpoint does not give, with the code of RFC 6749
 |- OutboundError                an address outside that may not be asked, or does not answer as it should
 |- UnprovedError                what an issuer is said to have signed, and that cannot be believed
 |- SignInError                  a sign-in that was not begun in this browser, or is over, or proves nothing
 |- SignInRefusedError           somebody whom the identity provider knows, and whom nobody here is linked with
 |- IdentityProviderError        an identity provider that does not answer as it should
 |- UpstreamError                the Hub behind the read-through proxy does not answer as a Hub
 |- TooManyRequestsError         more requests than one user or address may send
 |- QuotaExceededError           a namespace that would hold more than it may
 |- TooLargeError                a body or file above its limit
 |- NotOfferedError              a part of the Hub's protocol that this registry does not speak
 |- RangeNotSatisfiableError     a byte range outside the file
 |- DamagedAuditError            a row of the audit was changed, removed or added behind the registry's back
 |- BlobUnavailableError         bytes that the registry should hold are missing or damaged
 |- EvaluationNotFoundError      no such job of a module, or none that this caller may see
 |- EvaluationRefusedError       an evaluation that cannot be made, or a result that cannot be taken
 |- ConfinementError             no process can be kept from the network on this machine
 |- PassingError                 what the registry stands on fails; asking again later may help
 |   |- StorageFullError         no room on the disk
 |   |- StorageFailedError       the system refuses to read or write files
 |   |- WritesStoppedError       a sync to disk has failed, and this server only reads until it is restarted
 |   |- StoreError               the blob store cannot be used or does not answer
 |   '- DatabaseUnavailableError the database does not answer now, or not in time
 '- DataDirectoryError           the data directory or its database cannot be used: locked, damaged, too new
"""

from petapter_schemas.errors import PetapterError


class RegistryError(PetapterError):
    """Root of the errors that the registry raises on purpose."""


class RepositoryNotFoundError(RegistryError):
    """There is no such repository, or none that this caller may see."""

    def __init__(self, repo_id: str) -> None:
        super().__init__(f"Repository not found: {repo_id}")


class RepositoryNotFoundAnonymouslyError(RepositoryNotFoundError):
    """As its parent, for a caller without a token, who may see more after logging in."""


class RepositoryMovedError(RepositoryNotFoundError):
    """The repository has another name, which old addresses lead to; `full_name` is that name."""

    def __init__(self, repo_id: str, full_name: str) -> None:
        super().__init__(f"{repo_id}, which is called {full_name} by now")
        self.full_name = full_name


class GatedError(RegistryError):
    """The files are for those who were let in; the beginning of the text is the one that clients match."""

    def __init__(self, repo_id: str) -> None:
        super().__init__(
            f"Access to model {repo_id} is restricted and you are not in the authorized list. Ask for it: "
            f"POST /api/models/{repo_id}/ask-access with your token, or write to a member."
        )


class GatedAnonymouslyError(GatedError):
    """As its parent, for a caller without a token, who may be let in already."""


class RevisionNotFoundError(RegistryError):
    """There is no such branch, tag or commit in the repository."""

    def __init__(self, revision: str) -> None:
        super().__init__(f"Invalid rev id: {revision}")


class EntryNotFoundError(RegistryError):
    """There is no such file or folder in the commit; `commit_oid` lets clients remember that."""

    def __init__(self, path: str, commit_oid: str) -> None:
        super().__init__(f"Entry not found: {path}")
        self.commit_oid = commit_oid


class OrganisationNotFoundError(RegistryError):
    """There is no such organisation, or none that this caller belongs to."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no organisation {name!r} that you belong to: an admin of it can add you")


class EvaluationSetNotFoundError(RegistryError):
    """There is no such evaluation set or version of one, or none that this caller may see."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no evaluation set {name}, or none that you may see")


class EvaluationSetNotFoundAnonymouslyError(EvaluationSetNotFoundError):
    """As its parent, for a caller without a token, who may see more after logging in."""


class RowsNotHereError(RegistryError):
    """The rows of an evaluation set were never given, or were taken back; who has them can compare their digest."""


class NamespaceNotFoundError(RegistryError):
    """There is no such user or organisation, or none of whom this caller may see anything."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no user or organisation {name!r}, or nothing of it that you may see")


class UserNotFoundError(RegistryError):
    """There is no such user."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no user {name!r}: 'petapter-registry user create' makes one")


class WebhookNotFoundError(RegistryError):
    """There is no such webhook, or none of a place that this caller is an admin of."""

    def __init__(self, webhook_id: int) -> None:
        super().__init__(f"there is no webhook {webhook_id} of a namespace or module that you are an admin of")


class LastAdminError(RegistryError):
    """It would leave an organisation without an admin."""


class InvalidTokenError(RegistryError):
    """The token is unknown or revoked, or has expired; the text is the one that clients match."""

    def __init__(self, message: str = "Invalid credentials in Authorization header") -> None:
        super().__init__(message)


class LoginEndedError(InvalidTokenError):
    """A login in a browser has ended, with its time or with the token that it stands for."""

    def __init__(self) -> None:
        super().__init__("your login has ended, or its token was revoked or has expired: log in again")


class FormRefusedError(RegistryError):
    """A form was not sent from a page of this registry, or from one of another login."""


class LoginRequiredError(RegistryError):
    """No anonymous caller may do this."""


class PermissionDeniedError(RegistryError):
    """The caller is known and lacks the right."""


class VersionRefusedError(RegistryError):
    """A version or channel that may not be made, moved or removed so."""


class InvalidRequestError(RegistryError):
    """The request breaks the protocol."""


class UnsafePathError(InvalidRequestError):
    """A path in a commit leads out of the tree, or is not safe on every file system."""


class ContentRefusedError(RegistryError):
    """A file is of a kind that the registry does not store."""


class RepositoryExistsError(RegistryError):
    """The repository is there already; `full_name` is its canonical name."""

    def __init__(self, full_name: str) -> None:
        super().__init__(f"You already created this model repo: {full_name}")
        self.full_name = full_name


class ReferenceExistsError(RegistryError):
    """The branch or tag is there already."""


class EvaluationSetExistsError(RegistryError):
    """The version of an evaluation set is there already, with other content."""


class NameTakenError(RegistryError):
    """Something has or had the name, or one that looks like it; the text is the one that clients match."""

    def __init__(self, full_name: str) -> None:
        super().__init__(f"A model repository called {full_name} already exists")


class NameRetiredError(RegistryError):
    """The name belonged to a deleted repository and is never given out again."""


class StaleParentError(RegistryError):
    """The branch moved since the caller looked; the text is the one that clients match."""

    def __init__(self) -> None:
        super().__init__("The branch was updated since you opened this page. Please refresh and try again.")


class TooLargeError(RegistryError):
    """A body or a file exceeds its limit."""


class OAuthError(RegistryError):
    """OAuth's endpoint gives no token; `code` is the one of RFC 6749 that clients match."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class OutboundError(RegistryError):
    """An address outside may not be asked, or does not answer as it should."""


class UnprovedError(RegistryError):
    """What an issuer is said to have signed cannot be believed."""


class SignInError(RegistryError):
    """A sign-in was not begun in this browser, or is over, or its answer proves nothing."""


class SignInRefusedError(RegistryError):
    """The identity provider knows somebody who has no account here, or whose account is disabled, or who said no."""


class IdentityProviderError(RegistryError):
    """The identity provider does not answer, or not as it should."""


class UpstreamError(RegistryError):
    """The Hub behind the read-through proxy does not answer as a Hub."""


class ElsewhereError(RepositoryNotFoundError):
    """A repository of a namespace that is unknown here; a proxy may look for `repo_id` at its upstream."""

    def __init__(self, repo_id: str) -> None:
        super().__init__(repo_id)
        self.repo_id = repo_id


class TooManyRequestsError(RegistryError):
    """A user or an address sent `limit` requests in `window_s` seconds, and more are taken in `wait_s`."""

    def __init__(self, *, limit: int, window_s: int, wait_s: int) -> None:
        super().__init__(f"more than {limit} requests in {window_s} seconds: try again in {wait_s} seconds")
        self.limit = limit
        self.window_s = window_s
        self.wait_s = wait_s


class QuotaExceededError(RegistryError):
    """A namespace would hold more than it may."""


class NotOfferedError(RegistryError):
    """A part of the Hub's protocol that this registry does not speak."""


class RangeNotSatisfiableError(RegistryError):
    """The byte range lies outside the file of `size` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the requested range lies outside the file of {size} bytes")
        self.size = size


class DamagedAuditError(RegistryError):
    """A row of the audit was changed, removed or added behind the registry's back."""


class PassingError(RegistryError):
    """What the registry stands on fails; asking again after `retry_after_s` may help."""

    retry_after_s = 5


class StorageFullError(PassingError):
    """There is no room on the disk; what was acknowledged is there, and reads go on."""

    retry_after_s = 60

    def __init__(self) -> None:
        super().__init__(
            "the registry's disk is full, and nothing of this request was kept: ask whoever runs it to make room, and "
            "send it again"
        )


class StorageFailedError(PassingError):
    """The system refuses to read or write files now; its log says why."""

    def __init__(self) -> None:
        super().__init__("the registry cannot use its files now, and nothing of this request was kept: try again later")


class WritesStoppedError(PassingError):
    """A sync to disk has failed: nobody knows what is on it, so this server acknowledges no write until a restart."""

    retry_after_s = 30

    def __init__(self) -> None:
        super().__init__(
            "the registry could not write to its disk and takes nothing more until it is restarted; reading goes on. "
            "Ask whoever runs it, and send this again later"
        )


class StoreError(PassingError):
    """The blob store cannot be used, or does not answer."""


class DatabaseUnavailableError(PassingError):
    """The database does not answer now, or not in time."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("the registry's database does not answer: try again in a moment")


class DataDirectoryError(RegistryError):
    """The data directory or its database is locked, damaged, out of reach, or of a newer version."""


class BlobUnavailableError(RegistryError):
    """Bytes that a commit lists are missing from the blob store, or damaged."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"the stored bytes of {path} are damaged or missing: push the same file again, or ask whoever runs the "
            "registry to restore it"
        )


class EvaluationNotFoundError(RegistryError):
    """There is no such evaluation job of a module, or none that this caller may see."""

    def __init__(self, full_name: str, job_id: int) -> None:
        super().__init__(f"{full_name} has no evaluation job {job_id}")


class EvaluationRefusedError(RegistryError):
    """An evaluation that cannot be made, or a result of one that cannot be taken."""


class ConfinementError(RegistryError):
    """No process can be confined as an evaluation has to be."""
