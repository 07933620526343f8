"""etcd's API and addresses, on a real etcd."""
