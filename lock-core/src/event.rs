//! Events for `tracing`, if the feature of that name is on.

/// Records an event of a level, as the macro of `tracing` with the name of that level does.
macro_rules! event {
    ($level:ident, $($fields:tt)+) => {
        #[cfg(feature = "tracing")]
        tracing::$level!($($fields)+);
    };
}

pub(crate) use event;
