//! Conversions between rows and the types of the lists.

use lock_core::{Allocation, Death, Error, Generation, HeldLock, Holder, Label, LockId, Result};

use crate::statement::{Row, Value};

/// Returns an id as a parameter.
pub(crate) fn number(id: LockId) -> Value<'static> {
    Value::Number(id.get().into())
}

/// Returns the second key of the advisory lock of an id: the same 32 bits, with a sign.
pub(crate) fn advisory_key(id: LockId) -> Value<'static> {
    id.get().cast_signed().into()
}

/// Returns the id in a column.
pub(crate) fn id(row: &Row, column: usize) -> Option<LockId> {
    Some(LockId::new(u32::try_from(row.number(column)?).ok()?))
}

/// Returns the generation in a column.
pub(crate) fn generation(row: &Row, column: usize) -> Option<Generation> {
    Some(Generation::new(u64::try_from(row.number(column)?).ok()?))
}

/// Returns the token in a column.
pub(crate) fn token(row: &Row, column: usize) -> Result<u64> {
    let token = row.number(column).and_then(|token| u64::try_from(token).ok());
    token.ok_or_else(|| Error::corrupt("a token of the table lock_store.owner is not valid"))
}

pub(crate) fn holder_to_json(holder: &Holder) -> String {
    serde_json::to_string(holder).expect("a holder has only numbers and texts")
}

pub(crate) fn death_to_json(death: &Death) -> String {
    serde_json::to_string(death).expect("a death has only numbers and texts")
}

/// Returns the holder in a column. A record of a later version may be unknown.
pub(crate) fn holder(row: &Row, column: usize) -> Option<Holder> {
    serde_json::from_str(row.text(column)?).ok()
}

/// Returns the report of a death in a column. A report that cannot be read is one of an unknown owner.
pub(crate) fn death(row: &Row, column: usize) -> Option<Death> {
    row.text(column).map(|text| serde_json::from_str(text).unwrap_or_else(|_| Death::of(None)))
}

/// Converts a row of a list of allocations.
pub(crate) fn allocation(row: &Row) -> Result<Allocation> {
    let mut allocation = Allocation::new(id(row, 0).ok_or_else(|| Error::corrupt("an allocated id is not valid"))?);
    allocation.label = Label::truncated(row.text(1).unwrap_or_default());
    allocation.is_named = row.is_true(2);
    allocation.generation = generation(row, 3);
    allocation.allocator = holder(row, 4);
    allocation.since = row.number(5).and_then(|since| since.try_into().ok());
    Ok(allocation)
}

/// Converts a row of a list of held locks.
pub(crate) fn held(row: &Row) -> Result<HeldLock> {
    let id = id(row, 0).ok_or_else(|| Error::corrupt("the id of a held lock is not valid"))?;
    let mut held = HeldLock::new(id, holder(row, 1));
    held.waiters = row.number(2).and_then(|count| count.try_into().ok());
    Ok(held)
}

/// Returns the literal of an array.
pub(crate) fn array(values: impl Iterator<Item = String>) -> String {
    let mut text = String::from("{");
    for (at, value) in values.enumerate() {
        text.push_str(if at == 0 { "\"" } else { ",\"" });
        for c in value.chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use lock_core::Cause;

    use super::*;

    #[test]
    fn an_array_quotes_its_values() {
        assert_eq!(array(std::iter::empty()), "{}");
        assert_eq!(array(["", "a b", "\"\\,{}", "NULL"].map(str::to_owned).into_iter()), r#"{"","a b","\"\\,{}","NULL"}"#);
    }

    #[test]
    fn the_report_of_the_schema_is_one_of_a_session() {
        let holder = Holder::of_process(7).with_command("a \"quoted\" name").with_host("web1");
        let text = format!(r#"{{"holder":{},"cause":"session_ended"}}"#, holder_to_json(&holder));
        let death = death(&Row(vec![Some(text)]), 0).unwrap();
        assert_eq!(death, Death::of(Some(holder)).with_cause(Cause::SessionEnded));
        assert_eq!(super::death(&Row(vec![Some(death_to_json(&death))]), 0), Some(death));
    }

    #[test]
    fn the_keys_of_all_ids_differ() {
        let keys = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff].map(|id| match advisory_key(LockId::new(id)) {
            Value::Number(number) => number,
            other => panic!("{other:?}"),
        });
        assert_eq!(keys, [0, 1, 0x7fff_ffff, -0x8000_0000, -1]);
    }
}
