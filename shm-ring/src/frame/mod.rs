//! Frame: how bytes are published, from claim to commit to read. What ring and log share.
//!
//! ```text
//!  claimer                              everybody else
//!  -------                              --------------
//!  limit from tail, consumers, intents
//!  slot.intent = p          (I)         a reaper knows where a dead claimer was
//!  tail: p -> p + span      (T)         the next claimer goes on behind it
//!
//!  in the user's hands:                 copied at once:
//!  w0 = CLAIMED, w1 = seal  (S)           payload
//!  payload                                w0 = DATA, w1 = seal  (C)
//!  w0 = DATA                (C)         a reader may read; a producer may lap it, once consumers have released it
//! ```
//!
//! Every pair of orderings, by label:
//!
//! | label | store side | load side | what is carried |
//! |-------|------------|-----------|-----------------|
//! | C1/R1, R0 | `w0` committed, or `w1` of an unmarked claim, Release (view.rs) | `w0`, or `w1`, Acquire (view.rs) | payload, metadata, inner headers, the pad behind them |
//! | S1/R0 | `w1` seal, Release (view.rs) | `w1`, Acquire (view.rs) | `w0` of the same frame, CLAIMED or later |
//! | I1/I2 | `intent`, Release (claim.rs) | `intent`, Acquire (claim.rs, reap.rs) | `intent_len`; that the claim before it is finished |
//! | T1/T2 | `tail`, AcqRel or Release (claim.rs) | `tail`, Acquire (everywhere) | the claimer's intent; the high-water marks |
//! | L1/L2 | fence Release after the tail (claim.rs) | fence Acquire, then the tail (lossy.rs) | who saw a byte of the new payload sees the tail above it |
//! | P1/P2 | consumer's `position`, Release (cursor.rs, join.rs) | `position`, Acquire (claim.rs) | the reads of what was released are over |
//! | G1/G2 | `granted` raised, fence SeqCst, second scan (claim.rs) | `position` stored, fence SeqCst, `granted` (join.rs) | one of the two sees the other |
//! | W1/W2 | waiting bit, heavy fence, second look (wait.rs) | commit or release, light fence, waiting bit (wait.rs) | one of the two sees the other |
//! | A1/A2 | slot words before `attached` = 0, Release (reap.rs, producer.rs) | `attached`, Acquire (table.rs) | the last commits of a producer that is gone |
//! | H1/H2 | high-water mark, Release (ring/mod.rs, names.rs) | high-water mark, Acquire (claim.rs, reap.rs) | the slot's initial words |
//! | N1/N1 | a member's name gone, then its flags, Release (share.rs) | flags, Acquire, then the name (names.rs) | who is no member any more has no name |
//!
//! (I1) a header is stored at a position only by the claimer of that position or by its reaper; (I2) plain payload bytes are touched
//! by their claimer before C1 and by holders of the space after R1, by nobody else but `copy.rs`.

pub(crate) mod claim;
pub(crate) mod copy;
pub(crate) mod lossy;
pub(crate) mod scan;
pub(crate) mod table;
pub(crate) mod view;
