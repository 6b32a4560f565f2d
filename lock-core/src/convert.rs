//! Conversions of integers into ids, and the error of conversions that cannot fail.

use std::convert::Infallible;

use crate::{Error, LockId, Result};

macro_rules! from_wider_integers {
    ($($integer:ty)*) => {$(
        /// The error is [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) of a store without bound.
        impl TryFrom<$integer> for LockId {
            type Error = Error;

            fn try_from(number: $integer) -> Result<Self> {
                let out_of_range = |_| Error::out_of_range(Self::LIMIT);
                u32::try_from(number).map(Self::new).map_err(out_of_range)
            }
        }
    )*};
}

// For databases, most of which have signed integers of 64 bits, and for literals, which are `i32`.
from_wider_integers! { i32 i64 u64 usize }

/// For conversions that cannot fail, such as that of a `u32` into a [`LockId`], or of a [`StoreUrl`](crate::StoreUrl) into itself.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
