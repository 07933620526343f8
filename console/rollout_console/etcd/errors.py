"""Errors of etcd.

EtcdError
├── BadAddress      what was given is no etcd:// address, or its TLS files cannot be used
├── EtcdAway        no member answers, or there is no leader (quorum lost); nothing was changed
├── EtcdUncertain   a write was sent and its answer lost: whether it was made is not known
└── EtcdRefused     etcd answered and refused: user, password, permission, a request too large
"""

from rollout_gate.file.errors import RolloutError


class EtcdError(RolloutError):
    """Base of the errors of etcd; ``str()`` is one clear sentence without a credential."""


class BadAddress(EtcdError):
    """The address cannot be used."""


class EtcdAway(EtcdError):
    """No member of the cluster can serve the request."""


class EtcdUncertain(EtcdError):
    """A write may have been made or not."""


class EtcdRefused(EtcdError):
    """etcd refused the request."""
