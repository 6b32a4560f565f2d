//! The argument of `grow`.

use std::str::FromStr;

/// A maximum number of locks; `None` for no maximum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Capacity(pub(crate) Option<u64>);

impl FromStr for Capacity {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(locks) => Ok(Self(Some(locks))),
            Err(_) if text == "unbounded" => Ok(Self(None)),
            Err(_) => Err("give a number of locks, or `unbounded`"),
        }
    }
}
