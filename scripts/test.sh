#!/usr/bin/env bash
# Everything that decides whether a change is good: format, lints, docs, all tests on SQLite and
# on a real PostgreSQL, with artifacts in folders and on a server that speaks S3. Needs a Rust
# toolchain and a C compiler; the tests start and stop their own servers. Where CI=true, what is
# missing is installed, and a missing PostgreSQL or moto is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

have_postgres() {
    command -v initdb >/dev/null 2>&1 || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    missing=()
    command -v cc >/dev/null 2>&1 || missing+=(gcc libc6-dev)
    have_postgres || missing+=(postgresql)
    python3 -c 'import ensurepip' >/dev/null 2>&1 || missing+=(python3 python3-venv)
    if [ "${#missing[@]}" -gt 0 ]; then
        step "installing ${missing[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
    fi
fi
have_postgres || echo "note: no PostgreSQL on this machine: the store is tested on SQLite alone."

# One example pipeline runs a Python script that reads and writes Parquet with polars. Artifacts in
# a bucket are tested on moto, a server that speaks S3.
python=target/python
if ! "$python/bin/python3" -c 'import polars, boto3, moto.server' >/dev/null 2>&1; then
    step "a Python environment with polars and moto, in $python"
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet 'polars>=1.30,<3' 'moto[server]>=5,<6'
fi
export PATH="$PWD/$python/bin:$PATH"

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

step "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

step "tests"
cargo test --workspace --locked
