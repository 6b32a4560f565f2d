//! The conversions into a [`StoreUrl`] with which functions accept URLs in any form.

use std::borrow::Cow;

use super::{StoreUrl, StoreUrlBuilder};
use crate::{Error, Result};

impl TryFrom<&str> for StoreUrl {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<&String> for StoreUrl {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<Cow<'_, str>> for StoreUrl {
    type Error = Error;

    fn try_from(text: Cow<'_, str>) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<StoreUrlBuilder> for StoreUrl {
    type Error = Error;

    fn try_from(builder: StoreUrlBuilder) -> Result<Self> {
        builder.build()
    }
}

impl From<&StoreUrl> for StoreUrl {
    fn from(url: &StoreUrl) -> Self {
        url.clone()
    }
}
