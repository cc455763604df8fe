//! Values instead of bytes: plain ones in place, and anything that serde knows.
//!
//! `cargo run -p examples --example typed`
#![allow(clippy::print_stdout)]

use serde::{Deserialize, Serialize};
use shm_ring::RingOptions;
use std::error::Error;

/// Plain: no padding, every bit pattern valid, so that it can be read where it lies.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Tick {
    symbol: [u8; 8],
    price: f64,
    size: u64,
}

/// Anything else goes through serde.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Order {
    Buy { symbol: String, limit: Option<f64> },
    Cancel(u64),
}

fn main() -> Result<(), Box<dyn Error>> {
    let ring = RingOptions::new().anonymous()?;
    let mut producer = ring.producer()?;
    let mut consumer = ring.consumer("typed")?;

    let tick = Tick { symbol: *b"ACME    ", price: 101.25, size: 300 };
    producer.push_value(&tick)?;
    {
        let frame = consumer.poll()?;
        let in_place: &Tick = frame.value().ok_or("not a tick")?;
        println!("{in_place:?}, in the ring's own memory");
        assert_eq!(*in_place, tick);
    }

    for order in [Order::Buy { symbol: "ACME".into(), limit: Some(101.5) }, Order::Cancel(42)] {
        producer.send(&order)?;
        let received: Order = consumer.recv()?;
        println!("{received:?}");
        assert_eq!(received, order);
    }
    Ok(())
}
