//! Typed: values in and out of a ring, where ring and codecs meet.
//!
//! | path  | writes | reads | copies |
//! |-------|--------|-------|--------|
//! | plain | [`Producer::push_value`] | [`Frame::value`] | one in, none out |
//! | serde | `Producer::send` | `Consumer::recv` | feature `bincode` |
//!
//! Holds nothing of its own.

use crate::codec::plain;
use crate::error::ClaimError;
use crate::layout::frame::Position;
use crate::ring::producer::Producer;
use crate::ring::record::Frame;

impl Producer {
    /// Appends a plain value, waiting for room.
    ///
    /// # Errors
    ///
    /// As [`Producer::push`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let ring = shm_ring::RingOptions::new().anonymous()?;
    /// # let (mut producer, mut consumer) = (ring.producer()?, ring.consumer("c")?);
    /// producer.push_value(&[1.5f64, 2.5])?;
    /// assert_eq!(consumer.poll()?.value::<[f64; 2]>(), Some(&[1.5, 2.5]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push_value<T: bytemuck::NoUninit>(&mut self, value: &T) -> Result<Position, ClaimError> {
        self.push(plain::bytes_of(value))
    }
}

impl Frame<'_> {
    /// The payload as a plain value, in place; `None` when its length is not the type's, or the type wants more than 16-byte alignment.
    pub fn value<T: bytemuck::AnyBitPattern>(&self) -> Option<&T> {
        plain::value_of(self)
    }
}

#[cfg(feature = "bincode")]
mod serde_values {
    use super::{ClaimError, Position, Producer};
    use crate::codec::bincode::{CodecError, decode, encode};
    use crate::error::PollError;
    use crate::ring::consumer::Consumer;
    use serde::{Serialize, de::DeserializeOwned};

    /// Why a value was not sent.
    #[derive(Debug, thiserror::Error)]
    #[non_exhaustive]
    pub enum SendError {
        /// The value can't be written.
        #[error("the value can't be encoded: {0}")]
        Codec(#[from] CodecError),
        /// The ring did not take it.
        #[error(transparent)]
        Claim(#[from] ClaimError),
    }

    /// Why no value was received.
    #[derive(Debug, thiserror::Error)]
    #[non_exhaustive]
    pub enum RecvError {
        /// The record is no such value; it was consumed.
        #[error("the record at position {position} can't be decoded: {source}")]
        Codec {
            /// Where the record is.
            position: Position,
            /// What is wrong with it.
            source: CodecError,
        },
        /// There is no record.
        #[error(transparent)]
        Poll(#[from] PollError),
    }

    impl Producer {
        /// Appends a value through serde, waiting for room.
        ///
        /// # Errors
        ///
        /// [`SendError`]: the value can't be encoded, or as [`Producer::push`].
        pub fn send<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<Position, SendError> {
            let mut bytes = std::mem::take(&mut self.scratch);
            bytes.clear();
            let encoded = encode(value, &mut bytes);
            let sent = match encoded {
                Ok(()) => self.push(&bytes).map_err(SendError::from),
                Err(error) => Err(error.into()),
            };
            self.scratch = bytes;
            sent
        }
    }

    impl Consumer {
        /// The next record as a value through serde; waits for it.
        ///
        /// # Errors
        ///
        /// [`RecvError`]: the record is no such value (it is consumed all the same), or as [`Consumer::poll`].
        ///
        /// # Examples
        ///
        /// ```
        /// # let ring = shm_ring::RingOptions::new().anonymous()?;
        /// # let (mut producer, mut consumer) = (ring.producer()?, ring.consumer("c")?);
        /// producer.send(&("temperature", 21.5))?;
        /// let (what, value): (String, f64) = consumer.recv()?;
        /// assert_eq!((what.as_str(), value), ("temperature", 21.5));
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn recv<T: DeserializeOwned>(&mut self) -> Result<T, RecvError> {
            let frame = self.poll()?;
            decode(&frame).map_err(|source| RecvError::Codec { position: frame.position(), source })
        }
    }
}

#[cfg(feature = "bincode")]
pub use serde_values::{RecvError, SendError};
