//! Bincode: values through serde, in the format of bincode 1 (legacy configuration), which other crates read too.
//!
//! (I1) a decoder never allocates more than the record could fill, whatever lengths the bytes claim.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian, legacy};
use serde::{Serialize, de::DeserializeOwned};

/// Why a value could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(String);

/// No value may claim more than a record can hold: a quarter of 2^33 bytes.
type Config = Configuration<LittleEndian, Fixint, Limit<{ 1 << 31 }>>;

fn config() -> Config {
    legacy().with_limit::<{ 1 << 31 }>()
}

/// Writes `value` behind what is in `out`.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    bincode::serde::encode_into_std_write(value, out, config()).map_err(|e| CodecError(e.to_string()))?;
    Ok(())
}

/// Reads the value that fills `payload`.
pub(crate) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CodecError> {
    let (value, used) =
        bincode::serde::decode_from_slice(payload, config()).map_err(|e| CodecError(e.to_string()))?;
    if used != payload.len() {
        return Err(CodecError(format!("the value ends after {used} of {} bytes", payload.len())));
    }
    Ok(value)
}
