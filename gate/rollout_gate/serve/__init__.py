"""The gate as a local HTTP proxy, for applications in any language: ``rollout-gate serve``.

The request and its answer go through the same exchange as in the Python clients
(``rollout_gate.http``): decision, credentials, access log, retries and jobs are theirs.
"""
