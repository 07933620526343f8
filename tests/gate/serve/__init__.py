"""The gate as a local proxy: ``rollout-gate serve``, always as a process of its own."""
