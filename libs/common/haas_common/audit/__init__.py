"""Tamper evidence: Merkle trees over streams' heads, signed checkpoints, exports, and what verifies them.

Pure: no driver, no network. The rules are docs/reference/hashing.md; tests hold both against its vectors.
"""
