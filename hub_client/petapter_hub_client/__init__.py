"""The petapter command line and its remotes, as Python functions: pull, push, search, and what keeps the cache.

    import petapter_hub_client as hub

    hub.search("topics", remote="lab")
    hub.pull("lab:team/topics").directory

Every verb of the command line that needs no torch has its function here, as have `suggest`, `reproduce` and `diff`
with rows, which need it when they are called. All raise the errors of `petapter_schemas.errors` and print nothing;
warnings go to the logger `petapter_hub_client`. The core, `petapter`, knows no network, so these are not below its
name. A name is imported when it is first used, so that this package alone loads neither huggingface_hub nor rich, and
never torch: `resolve_backbone` and `open_stack` need that to build the built-in backbone, once.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from petapter_hub_client.backbones import resolve_backbone
    from petapter_hub_client.cached_modules import (
        find_cached,
        list_cached,
        older_than,
        remove_cached,
        verify_cached,
    )
    from petapter_hub_client.describing import info
    from petapter_hub_client.differing import diff
    from petapter_hub_client.evaluation_results import list_results
    from petapter_hub_client.evaluation_sets import (
        SetOptions,
        check_evaluation_rows,
        create_evaluation_set,
        leaderboard,
        list_evaluation_sets,
        pull_evaluation_set,
        push_evaluation_set,
        read_evaluation_set,
        show_evaluation_set,
    )
    from petapter_hub_client.fetching import pull
    from petapter_hub_client.handing_in import MeasureOptions, hand_in, measure_on_set
    from petapter_hub_client.identity import login, logout, whoami
    from petapter_hub_client.importing.label_sets import import_label_set
    from petapter_hub_client.importing.paper_config import import_paper_config
    from petapter_hub_client.maintaining import list_channels, remove_channel, set_channel, unyank, yank
    from petapter_hub_client.output import byte_progress
    from petapter_hub_client.publishing import plan_push, push
    from petapter_hub_client.push_plans import PushOptions
    from petapter_hub_client.remotes import add_remote, find_policy, list_remotes, remove_remote, set_default_remote
    from petapter_hub_client.reproducing import ReproduceOptions, reproduce
    from petapter_hub_client.searching import Query, search
    from petapter_hub_client.signing.bundle_verbs import sign_with_bundle, verify_with_bundle
    from petapter_hub_client.signing.bundles import KeySigner, KeyVerifier, SigstoreSigner, SigstoreVerifier
    from petapter_hub_client.signing.keys import (
        list_own_keys,
        list_trusted_keys,
        make_key,
        remove_key,
        revoke_key,
        trust_key,
    )
    from petapter_hub_client.signing.policies import change_policy
    from petapter_hub_client.signing.verbs import SignOptions, sign, sign_published, verify_signatures
    from petapter_hub_client.stacks.auditing import audit
    from petapter_hub_client.stacks.opening import open_stack
    from petapter_hub_client.suggesting import SuggestOptions, suggest

__all__ = (
    "KeySigner",
    "KeyVerifier",
    "MeasureOptions",
    "PushOptions",
    "Query",
    "ReproduceOptions",
    "SetOptions",
    "SignOptions",
    "SigstoreSigner",
    "SigstoreVerifier",
    "SuggestOptions",
    "add_remote",
    "audit",
    "byte_progress",
    "change_policy",
    "check_evaluation_rows",
    "create_evaluation_set",
    "diff",
    "find_cached",
    "find_policy",
    "hand_in",
    "import_label_set",
    "import_paper_config",
    "info",
    "leaderboard",
    "list_cached",
    "list_channels",
    "list_evaluation_sets",
    "list_own_keys",
    "list_remotes",
    "list_results",
    "list_trusted_keys",
    "login",
    "logout",
    "make_key",
    "measure_on_set",
    "older_than",
    "open_stack",
    "plan_push",
    "pull",
    "pull_evaluation_set",
    "push",
    "push_evaluation_set",
    "read_evaluation_set",
    "remove_cached",
    "remove_channel",
    "remove_key",
    "remove_remote",
    "reproduce",
    "resolve_backbone",
    "revoke_key",
    "search",
    "set_channel",
    "set_default_remote",
    "show_evaluation_set",
    "sign",
    "sign_published",
    "sign_with_bundle",
    "suggest",
    "trust_key",
    "unyank",
    "verify_cached",
    "verify_signatures",
    "verify_with_bundle",
    "whoami",
    "yank",
)

_NAMES_BY_ROOM = {
    "backbones": ("resolve_backbone",),
    "cached_modules": ("find_cached", "list_cached", "older_than", "remove_cached", "verify_cached"),
    "describing": ("info",),
    "differing": ("diff",),
    "evaluation_results": ("list_results",),
    "evaluation_sets": (
        "SetOptions",
        "check_evaluation_rows",
        "create_evaluation_set",
        "leaderboard",
        "list_evaluation_sets",
        "pull_evaluation_set",
        "push_evaluation_set",
        "read_evaluation_set",
        "show_evaluation_set",
    ),
    "fetching": ("pull",),
    "handing_in": ("MeasureOptions", "hand_in", "measure_on_set"),
    "identity": ("login", "logout", "whoami"),
    "importing.label_sets": ("import_label_set",),
    "importing.paper_config": ("import_paper_config",),
    "maintaining": ("list_channels", "remove_channel", "set_channel", "unyank", "yank"),
    "output": ("byte_progress",),
    "publishing": ("plan_push", "push"),
    "push_plans": ("PushOptions",),
    "remotes": ("add_remote", "find_policy", "list_remotes", "remove_remote", "set_default_remote"),
    "reproducing": ("ReproduceOptions", "reproduce"),
    "searching": ("Query", "search"),
    "signing.bundle_verbs": ("sign_with_bundle", "verify_with_bundle"),
    "signing.bundles": ("KeySigner", "KeyVerifier", "SigstoreSigner", "SigstoreVerifier"),
    "signing.keys": ("list_own_keys", "list_trusted_keys", "make_key", "remove_key", "revoke_key", "trust_key"),
    "signing.policies": ("change_policy",),
    "signing.verbs": ("SignOptions", "sign", "sign_published", "verify_signatures"),
    "stacks.auditing": ("audit",),
    "stacks.opening": ("open_stack",),
    "suggesting": ("SuggestOptions", "suggest"),
}
_ROOMS = {name: room for room, names in _NAMES_BY_ROOM.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 (most commands need none of these)

    value: object = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
