//! Who drives a run; and the clock and the random numbers that the rest of the engine is handed.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use wick_core::{Timestamp, Token};
use wick_store::EngineId;

use crate::error::{EngineError, EngineResult};

/// The time now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_micros() as i64)
}

/// A random number from the system.
///
/// # Errors
/// If the system has none to give.
pub fn random() -> EngineResult<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(EngineError::system("read random numbers from /dev/urandom"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Draws the tokens of attempts: distinct, and not to be guessed from one another by accident.
#[derive(Debug)]
pub struct Tokens(u64);

impl Tokens {
    /// Tokens that follow from `seed`.
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// The next token (the SplitMix64 generator of Steele, Lea and Flood, 2014).
    pub const fn draw(&mut self) -> Token {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Databases keep signed numbers: the top bit stays clear.
        Token((z ^ (z >> 31)) >> 1)
    }
}

/// This process, as an engine.
///
/// # Errors
/// If the system has no random numbers to give.
pub fn engine_id() -> EngineResult<EngineId> {
    Ok(wick_store::this_engine(Tokens::from_seed(random()?).draw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_fit_a_signed_column() {
        let mut tokens = Tokens::from_seed(1);
        let drawn: std::collections::HashSet<u64> = (0..1000).map(|_| tokens.draw().0).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().all(|token| i64::try_from(*token).is_ok()));
    }
}
