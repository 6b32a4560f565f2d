use std::fmt;

/// The backend of a table, and a number for the ABI on which the backend's part of a line depends.
#[derive(Clone, Copy)]
pub struct Kind {
    name: [u8; 8],
    pub(crate) abi: u64,
    describe: fn(u64) -> String,
}

impl Kind {
    /// Creates the kind of a backend with a name of one to eight bytes.
    ///
    /// Programs can share a table if they have the same `abi`.
    ///
    /// # Panics
    /// If the name is empty or longer than eight bytes.
    pub const fn new(name: &str, abi: u64) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 8, "the name of a kind must have one to eight bytes");
        let mut name = [0; 8];
        let mut at = 0;
        while at < bytes.len() {
            name[at] = bytes[at];
            at += 1;
        }
        Self { name, abi, describe: number }
    }

    /// Sets a function that describes an ABI of this backend, for error messages.
    #[must_use]
    pub const fn described(self, describe: fn(u64) -> String) -> Self {
        Self { describe, ..self }
    }

    pub(crate) const fn tag(self) -> u64 {
        u64::from_le_bytes(self.name)
    }

    /// Decodes a kind from a header.
    ///
    /// If it has the backend of `known`, it gets the description function of `known`.
    pub(crate) fn decode(tag: u64, abi: u64, known: Self) -> Option<Self> {
        let describe = if tag == known.tag() { known.describe } else { number };
        let name = tag.to_le_bytes();
        let printable = name.iter().take_while(|byte| byte.is_ascii_graphic()).count();
        (printable > 0 && name[printable..].iter().all(|byte| *byte == 0)).then_some(Self { name, abi, describe })
    }

    pub(crate) fn describe_unknown(tag: u64, abi: u64) -> String {
        format!("{tag:#x}, which is not a printable name (ABI {abi:#x})")
    }
}

/// Describes an ABI by its number.
fn number(abi: u64) -> String {
    format!("ABI {abi:#x}")
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.abi) == (other.name, other.abi)
    }
}

impl Eq for Kind {}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.split(|byte| *byte == 0).next().unwrap_or_default();
        write!(f, "{} ({})", String::from_utf8_lossy(name), (self.describe)(self.abi))
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({self})")
    }
}
