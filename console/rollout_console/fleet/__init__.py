"""A rollout file of several hosts, in etcd: the working copy, one history, who has applied it."""
