//! Text forms of ids and labels, and conversions between them and plain values.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::{Error, Generation, Label, StoreId, Token};

macro_rules! numbers {
    ($($number:ident)*) => {$(
        impl fmt::Display for $number {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.get(), f)
            }
        }

        impl FromStr for $number {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self::new)
            }
        }

        impl From<u64> for $number {
            fn from(number: u64) -> Self {
                Self::new(number)
            }
        }

        impl From<$number> for u64 {
            fn from(number: $number) -> Self {
                number.get()
            }
        }
    )*};
}

numbers! { Generation Token }

/// The error of a text that is not a [`StoreId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ParseStoreIdError(());

impl fmt::Display for ParseStoreIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the identity of a store has 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12 with a hyphen between them")
    }
}

impl std::error::Error for ParseStoreIdError {}

impl FromStr for StoreId {
    type Err = ParseStoreIdError;

    /// Parses the form that `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lengths = text.split('-').map(str::len);
        let digits: String = text.split('-').collect();
        // `from_str_radix` also accepts a sign.
        let is_valid = lengths.eq([8, 4, 4, 4, 12]) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let bits = is_valid.then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
        bits.map(Self::new).ok_or(ParseStoreIdError(()))
    }
}

impl From<u128> for StoreId {
    fn from(bits: u128) -> Self {
        Self::new(bits)
    }
}

impl From<StoreId> for u128 {
    fn from(id: StoreId) -> Self {
        id.get()
    }
}

impl FromStr for Label {
    type Err = Error;

    /// Creates a label, as [`Label::new`] does.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Label {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<String> for Label {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.into_string()
    }
}

impl AsRef<str> for Label {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Label {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing_inverts_display() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = StoreId::new(bits);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(Generation::new(7).to_string().parse(), Ok(Generation::new(7)));
        let label: Label = "pod web".parse().unwrap();
        assert_eq!(label.to_string().parse::<Label>().unwrap(), label);
    }

    #[test]
    fn a_text_of_another_form_is_no_store_id() {
        let valid = StoreId::new(0xabcd).to_string();
        let invalid = [
            "",
            "-",
            "12",
            &valid[1..],
            &valid.replace('-', ""),
            &valid.replace('a', "g"),
            &valid.replace("00000000-", "+0000000-"),
        ];
        for text in invalid {
            assert!(text.parse::<StoreId>().is_err(), "{text}");
        }
        assert_eq!(valid.to_uppercase().parse(), Ok(StoreId::new(0xabcd)));
    }
}
