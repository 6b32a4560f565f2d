//! `grow`: raises the capacity of a store.

use std::str::FromStr;

use crate::cli::{GrowArgs, StoreArgs};
use crate::exit::Failure;

/// A maximum number of locks; `None` for no maximum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Capacity(Option<u64>);

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

pub(crate) fn grow(store_args: &StoreArgs, args: &GrowArgs) -> Result<(), Failure> {
    Ok(store_args.open()?.grow(args.capacity.0)?)
}
