use lock_core::{Death, Guard, Result, SendGuard, Token};

/// A guard of either kind.
pub(super) trait HeldGuard {
    fn recovered(&self) -> Option<&Death>;
    fn token(&self) -> Option<Token>;
    fn mark_consistent(&mut self) -> Result<()>;
    fn unlock(self) -> Result<()>;
}

macro_rules! guards {
    ($($Guard:ident)*) => {$(
        impl HeldGuard for $Guard<'_> {
            fn recovered(&self) -> Option<&Death> {
                self.recovered()
            }

            fn token(&self) -> Option<Token> {
                self.token()
            }

            fn mark_consistent(&mut self) -> Result<()> {
                self.mark_consistent()
            }

            fn unlock(self) -> Result<()> {
                self.unlock()
            }
        }
    )*};
}

guards!(Guard SendGuard);
