use lock_core::{Error, Result};

/// Returns random bits, which differ in a forked child.
pub(crate) fn bits() -> Result<u64> {
    getrandom::u64().map_err(|error| Error::system("getrandom", std::io::Error::from(error)))
}

/// Returns a random number below `end`, or 0.
pub(crate) fn below(end: u64) -> Result<u64> {
    Ok(bits()?.checked_rem(end).unwrap_or_default())
}
