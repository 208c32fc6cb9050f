//! [`Verified`]: a value that this crate has checked. Nobody else can make one.

use alloc::vec::Vec;
use core::ops::Deref;

/// A value whose signatures, hashes and age were checked by this crate.
///
/// There is no public constructor: a function that takes a `Verified<T>` cannot be called with anything else. What of
/// checked bytes is read as something else keeps its word through [`Verified::parse`], and only by the type's own reading.
///
/// Nobody makes one by hand:
///
/// ```compile_fail,E0423
/// let forged = hypriot_keys::Verified(vec![0_u8]);
/// ```
///
/// ```compile_fail,E0624
/// let forged = hypriot_keys::Verified::new(vec![0_u8]);
/// ```
///
/// or by changing one that is true, in its place or on the way to another type:
///
/// ```compile_fail,E0594
/// fn forge(of: &mut hypriot_keys::Verified<(u8, u8)>) {
///     of.0 = 1;
/// }
/// ```
///
/// ```compile_fail,E0596
/// fn forge(of: &mut hypriot_keys::Verified<Vec<u8>>) {
///     of.clear();
/// }
/// ```
///
/// ```compile_fail,E0599
/// fn forge(of: hypriot_keys::Verified<Vec<u8>>) -> hypriot_keys::Verified<u8> {
///     of.map(|_| 1)
/// }
/// ```
///
/// or by teaching somebody else's type to be read in another way:
///
/// ```compile_fail,E0117
/// impl hypriot_keys::FromVerified for String {
///     type Error = ();
///     fn from_verified(_: &[u8]) -> Result<Self, ()> {
///         Ok(String::from("forged"))
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

/// What can be read from checked bytes, and stays checked.
///
/// A crate implements it for its own types only (the language sees to that), so that what a [`Verified`] of a type holds is
/// decided where the type lives.
pub trait FromVerified: Sized {
    /// Why the bytes are none, though checked.
    type Error;

    /// Reads it. All of the value comes from these bytes.
    fn from_verified(bytes: &[u8]) -> Result<Self, Self::Error>;
}

impl<T> Verified<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself; from here on the type says nothing any more.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Verified<Vec<u8>> {
    /// What the checked bytes say.
    pub fn parse<T: FromVerified>(&self) -> Result<Verified<T>, T::Error> {
        T::from_verified(&self.0).map(Verified)
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
