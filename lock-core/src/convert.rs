//! Conversions of integers into ids.

use std::convert::Infallible;

use crate::{Error, ErrorKind, LockId, Result};

macro_rules! from_wider_integers {
    ($($integer:ty)*) => {$(
        /// The error is [`ErrorKind::OutOfRange`] of a store without bound.
        impl TryFrom<$integer> for LockId {
            type Error = Error;

            fn try_from(number: $integer) -> Result<Self> {
                let out_of_range = |_| ErrorKind::OutOfRange { capacity: Self::LIMIT };
                Ok(u32::try_from(number).map(Self::new).map_err(out_of_range)?)
            }
        }
    )*};
}

// For databases, most of which have signed integers of 64 bits, and for literals, which are `i32`.
from_wider_integers! { i32 i64 u64 usize }

/// For conversions that cannot fail, such as that of a `u32` into a [`LockId`].
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
