"""Preserve a replaced file's metadata: owner, group, mode, ACL, extended attributes (xattrs).

The new file is another inode, with the metadata of the process that created it. Whoever could read
the old one must be able to read the new one: an application that cannot continues by the version
that it last read, and never sees a rollback.
"""

import errno
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

import msgspec

_ACL = "system.posix_acl_access"
_ACL_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF
"""ACL tags, and the id of entries that need none (``linux/posix_acl.h``, ``posix_acl_xattr.h``)."""
_READ = 4

Entry = tuple[int, int, int]
"""Tag, id and permissions of one entry of a POSIX ACL."""


class ReadersLostError(Exception):
    """The new file could not be read by some who can read the old one; ``str()`` says why."""


class Attributes(msgspec.Struct, frozen=True):
    """The stat result and the extended attributes of one file."""

    status: os.stat_result
    extended: dict[str, bytes]


def attributes_of(path: Path) -> Attributes:
    """Return the attributes of a file, except unreadable ones; raises OSError."""
    extended: dict[str, bytes] = {}
    for name in _names(path):
        with suppress(OSError):
            extended[name] = os.getxattr(path, name)
    return Attributes(path.stat(), extended)


def give(descriptor: int, wanted: Attributes) -> list[str]:
    """Apply the attributes to an open file of this process; return what could not be kept.

    Where chown is not permitted, the owner or group gets the same access by an ACL.
    Raises ReadersLostError where that cannot be done either, and OSError.
    """
    owner, group = _give_owner(descriptor, wanted.status)
    # A new file inherits the folder's default ACL, which the old file may not have.
    with suppress(OSError):
        os.removexattr(descriptor, _ACL)
    mode = stat.S_IMODE(wanted.status.st_mode)
    os.fchmod(descriptor, mode)
    lost = []
    for name, value in wanted.extended.items():
        if name != _ACL and not _set(descriptor, name, value):
            lost.append(f"its extended attribute {name} could not be kept")
    acl = wanted.extended.get(_ACL)
    entries = _entries(acl) if acl is not None else _of_mode(mode)
    if not (owner and group):
        entries = _for_others(entries, wanted.status, owner=owner, group=group)
    elif acl is None:
        return lost
    if not _set(descriptor, _ACL, _packed(entries)):
        _check_readers(mode, wanted.status, has_acl=acl is not None, owner=owner, group=group)
    return lost


def _give_owner(descriptor: int, status: os.stat_result) -> tuple[bool, bool]:
    """Change owner and group (fchown); return whether each is as it was in ``status``."""
    for user, group in ((status.st_uid, status.st_gid), (-1, status.st_gid)):
        try:
            os.fchown(descriptor, user, group)
        except OSError:
            continue
        break
    now = os.fstat(descriptor)
    return now.st_uid == status.st_uid, now.st_gid == status.st_gid


def _for_others(
    entries: list[Entry], status: os.stat_result, *, owner: bool, group: bool
) -> list[Entry]:
    """Return an ACL by which everybody has the same access after a change of owner or group."""
    mask = next((perms for tag, _, perms in entries if tag == _MASK), 7)
    class_of_group = (_USER, _GROUP_OBJ, _GROUP)
    # The mask is recomputed, and wider: first apply the old one to each entry that it limits.
    found = [
        (tag, who, perms & mask if tag in class_of_group else perms)
        for tag, who, perms in entries
        if tag != _MASK
    ]
    perms_of = {tag: perms for tag, who, perms in found if who == _NOBODY}
    if not owner:
        found = [one for one in found if one[:2] != (_USER, status.st_uid)]
        found.append((_USER, status.st_uid, perms_of[_USER_OBJ]))
    if not group:
        found = [one for one in found if one[:2] != (_GROUP, status.st_gid)]
        found.append((_GROUP, status.st_gid, perms_of[_GROUP_OBJ]))
        found = [
            (tag, who, perms_of[_OTHER] if tag == _GROUP_OBJ else perms)
            for tag, who, perms in found
        ]
    wide = 0
    for tag, _, perms in found:
        wide |= perms if tag in class_of_group else 0
    return sorted([*found, (_MASK, _NOBODY, wide)])


def _check_readers(
    mode: int, status: os.stat_result, *, has_acl: bool, owner: bool, group: bool
) -> None:
    everybody = mode & _READ
    lost = []
    if has_acl:
        lost.append("its ACL")
    if not owner and mode & (_READ << 6) and not everybody:
        lost.append(f"its owner (user {status.st_uid})")
    if not group and mode & (_READ << 3) and not everybody:
        lost.append(f"its group ({status.st_gid})")
    if lost:
        raise ReadersLostError(
            f"{' and '.join(lost)} cannot be kept by user {os.geteuid()}, so applications that"
            " read the file that way would not see the change: make it as the file's owner, as"
            " root, or as a member of its group"
        )


def _of_mode(mode: int) -> list[Entry]:
    return [
        (_USER_OBJ, _NOBODY, mode >> 6 & 7),
        (_GROUP_OBJ, _NOBODY, mode >> 3 & 7),
        (_OTHER, _NOBODY, mode & 7),
    ]


def _entries(acl: bytes) -> list[Entry]:
    if len(acl) < 4 or (len(acl) - 4) % 8:
        return []
    found = struct.iter_unpack("<HHI", acl[4:])
    return [(tag, who, perms) for tag, perms, who in found]


def _packed(entries: list[Entry]) -> bytes:
    packed = (struct.pack("<HHI", tag, perms, who) for tag, who, perms in entries)
    return struct.pack("<I", _ACL_VERSION) + b"".join(packed)


def _set(descriptor: int, name: str, value: bytes) -> bool:
    try:
        os.setxattr(descriptor, name, value)
    except OSError as error:
        if error.errno == errno.ENOTSUP and name != _ACL:
            return False
        try:
            return os.getxattr(descriptor, name) == value  # a label from the folder
        except OSError:
            return False
    return True


def _names(path: Path) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError:  # a file system without xattrs
        return []
