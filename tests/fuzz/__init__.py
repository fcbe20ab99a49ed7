"""Fuzzing: what no test thought of.

    python -m tests.fuzz.framing [--seconds 60]    the POP3 core, guided by coverage where atheris is installed
    python -m tests.fuzz.source [--seconds 60]     the whole POP3 source against a server that lies
    python -m tests.fuzz.smtp [--seconds 60]       the SMTP and LMTP core against any server, on any line
    python -m tests.fuzz.framing FILE...           these inputs once, without atheris
    python -m tests.fuzz.seeds                     writes corpus/ anew

Strategy: a target is a module with `check(data)`, which raises AssertionError when its invariant, the first line of the
module, does not hold. Inputs are programs of a few octets (`inputs`); `reference` says what a stream means, by other
means than the code under test; `liar` is the server. `engine` alone knows atheris: `check` runs without it, so that
test_replay.py holds the invariants over the corpus, and over hypothesis' inputs, on every machine.
"""
