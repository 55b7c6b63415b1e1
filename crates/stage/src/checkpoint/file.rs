//! The bytes of a checkpoint.
//!
//! ```text
//! magic     8 bytes   "wickckpt"
//! version   4 bytes   1, little-endian, as all numbers here
//! length    4 bytes   of the header
//! header    JSON      whose state it is, and how long
//! state     as saved
//! hash     32 bytes   BLAKE3 of all before
//! ```
//!
//! The state is opaque here; whoever saves one uses a format that cannot run code.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use wick_core::{Fingerprint, RunId};

use super::Checkpoint;

/// The largest state.
pub(super) const MAX_BYTES: u64 = 16 << 30;

/// The largest file.
pub(super) const MAX_FILE: u64 = MAX_BYTES + (START + HASH) as u64 + MAX_HEADER as u64;

const MAGIC: [u8; 8] = *b"wickckpt";
const VERSION: u32 = 1;
/// Up to the header.
const START: usize = 16;
const MAX_HEADER: u32 = 4096;
const HASH: usize = 32;

/// Whose state it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) fingerprint: Fingerprint,
    pub(super) step: u64,
    pub(super) run: RunId,
    pub(super) attempt: u32,
    /// The length of the state.
    pub(super) bytes: u64,
}

/// Why a file is not a checkpoint that can be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it is not a file")]
    Strange,
    #[error("it has {0} bytes, more than a checkpoint may have")]
    TooLarge(u64),
    #[error("it is cut short")]
    Short,
    #[error("it does not begin as a checkpoint")]
    Magic,
    #[error("it has version {0}, unknown here")]
    Version(u32),
    #[error("its bytes are not those that were written")]
    Hash,
    #[error("its header does not read")]
    Header,
    #[error("it was saved by another stage or configuration")]
    Fingerprint,
    #[error("it is of step {0}, which is not what its name says")]
    Step(u64),
}

/// Writes a checkpoint.
pub(super) fn encode(to: &mut impl Write, header: &Header, state: &[u8]) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let length = u32::try_from(header.len()).map_err(io::Error::other)?;
    let mut start = Vec::with_capacity(START + header.len());
    start.extend_from_slice(&MAGIC);
    start.extend_from_slice(&VERSION.to_le_bytes());
    start.extend_from_slice(&length.to_le_bytes());
    start.extend_from_slice(&header);
    let hash = blake3::Hasher::new().update(&start).update(state).finalize();
    to.write_all(&start)?;
    to.write_all(state)?;
    to.write_all(hash.as_bytes())
}

/// Reads the checkpoint of this stage and step.
pub(super) fn decode(
    mut bytes: Vec<u8>,
    fingerprint: &Fingerprint,
    step: u64,
) -> Result<Checkpoint, Damage> {
    if bytes.len() < START + HASH {
        return Err(Damage::Short);
    }
    if bytes[..8] != MAGIC {
        return Err(Damage::Magic);
    }
    let version = number(&bytes, 8);
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let end = bytes.len() - HASH;
    // Compared whole, whatever the file claims of itself.
    if blake3::hash(&bytes[..end]).as_bytes() != &bytes[end..] {
        return Err(Damage::Hash);
    }
    let length = number(&bytes, 12);
    let state = START + length as usize;
    if length > MAX_HEADER || state > end {
        return Err(Damage::Header);
    }
    let header: Header =
        serde_json::from_slice(&bytes[START..state]).map_err(|_| Damage::Header)?;
    if header.bytes != (end - state) as u64 {
        return Err(Damage::Header);
    }
    if header.fingerprint != *fingerprint {
        return Err(Damage::Fingerprint);
    }
    if header.step != step {
        return Err(Damage::Step(header.step));
    }
    bytes.truncate(end);
    bytes.drain(..state);
    Ok(Checkpoint { step, run: header.run, attempt: header.attempt, state: bytes })
}

/// The number at `at`, where the caller knows that there is one.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
