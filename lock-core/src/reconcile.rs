use crate::{Error, Label, LockId};

/// An id that [`Store::reconcile`](crate::Store::reconcile) leaves allocated, and its label if the call allocates it.
///
/// It is converted from ids and integers, and from pairs of one of them and a label.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DesiredAllocation {
    pub(crate) id: LockId,
    pub(crate) label: Label,
}

impl DesiredAllocation {
    /// Creates the wish for this id, with the label of a new allocation.
    pub fn new(id: LockId, label: Label) -> Self {
        Self { id, label }
    }
}

macro_rules! from_ids {
    ($($id:ty)*) => {$(
        impl TryFrom<$id> for DesiredAllocation {
            type Error = Error;

            fn try_from(id: $id) -> Result<Self, Error> {
                Ok(Self::new(id.try_into()?, Label::default()))
            }
        }

        impl<L: Into<String>> TryFrom<($id, L)> for DesiredAllocation {
            type Error = Error;

            fn try_from((id, label): ($id, L)) -> Result<Self, Error> {
                Ok(Self::new(id.try_into()?, Label::new(label)?))
            }
        }
    )*};
}

from_ids! { LockId u32 i32 i64 u64 usize }
