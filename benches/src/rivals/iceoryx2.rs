//! iceoryx2 0.10.0: publish-subscribe over loaned samples in shared memory, with discovery.
//!
//! `publish_subscribe::<[u8]>`, `loan_slice_uninit`, `write_from_slice`, `send`. Back-pressure instead of safe overflow; a
//! publisher that finds a full subscriber retries in its own way. A receiver that blocks is told by an event service, one
//! notification per record, and waits for the next one only after it found nothing.
//!
//! Its files have a prefix and a root of their own, and are removed by the parent: a side that was killed removes nothing.

use std::time::Duration;

use iceoryx2::port::{listener::Listener, notifier::Notifier, publisher::Publisher, subscriber::Subscriber};
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::{event, publish_subscribe};

use super::parts::{Scratch, Waiting};
use crate::workload::{Contestant, Receiver, Records, Sender};

/// Samples that a subscriber may have in its queue.
const N_QUEUED_MIN: usize = 16;
const N_QUEUED_MAX: usize = 1024;
/// Longer than a wake-up, shorter than a time-out.
const NAP: Duration = Duration::from_secs(1);

/// One or several to one or several, each record to every receiver.
#[derive(Debug)]
pub(super) struct Service {
    config: Config,
    name: ServiceName,
    _scratch: Scratch,
    record_bytes: usize,
    n_queued: usize,
    n_senders: usize,
    n_receivers: usize,
    waiting: Waiting,
}

impl Service {
    /// # Errors
    ///
    /// A path that iceoryx2 can't take.
    pub(super) fn new(
        ring_bytes: usize,
        record_bytes: usize,
        [n_senders, n_receivers]: [usize; 2],
        waiting: Waiting,
    ) -> Result<Self, String> {
        let scratch = Scratch::new();
        let root = scratch.temporary();
        let shown = |error| format!("iceoryx2: {}: {error:?}", root.display());
        let mut config = Config::default();
        config.global.prefix = FileName::new(scratch.name().as_bytes()).map_err(shown)?;
        config.global.set_root_path(&Path::new(root.as_os_str().as_encoded_bytes()).map_err(shown)?);
        let name = ServiceName::new("records").map_err(|error| format!("iceoryx2: {error:?}"))?;
        let n_queued = (ring_bytes / record_bytes).clamp(N_QUEUED_MIN, N_QUEUED_MAX);
        Ok(Self { config, name, _scratch: scratch, record_bytes, n_queued, n_senders, n_receivers, waiting })
    }

    fn blocks(&self) -> bool {
        self.waiting == Waiting::Block
    }

    /// This process's node; whoever comes first makes the service.
    fn attach(&self) -> Attached {
        set_log_level(LogLevel::Fatal);
        let node = NodeBuilder::new()
            .config(&self.config)
            // The harness ends a side with SIGKILL, and nothing else ends it.
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .create::<ipc::Service>()
            .expect("iceoryx2: a node");
        let n_nodes = self.n_senders + self.n_receivers;
        let records = node
            .service_builder(&self.name)
            .publish_subscribe::<[u8]>()
            .payload_alignment(Alignment::new(64).expect("a power of two"))
            .enable_safe_overflow(false)
            .history_size(0)
            .subscriber_max_buffer_size(self.n_queued)
            .max_publishers(self.n_senders)
            .max_subscribers(self.n_receivers)
            .max_nodes(n_nodes)
            .open_or_create()
            .expect("iceoryx2: the service");
        let events = self.blocks().then(|| {
            let builder = node.service_builder(&self.name).event().max_nodes(n_nodes);
            builder.open_or_create().expect("iceoryx2: the event service")
        });
        Attached { records, events, _node: node }
    }
}

/// A process's way to the service; lives as long as its ports.
struct Attached {
    records: publish_subscribe::PortFactory<ipc::Service, [u8], ()>,
    events: Option<event::PortFactory<ipc::Service>>,
    _node: Node<ipc::Service>,
}

impl Contestant for Service {
    fn sender(&self) -> impl Sender {
        let attached = self.attach();
        let publisher = attached
            .records
            .publisher_builder()
            .initial_max_slice_len(self.record_bytes)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .expect("iceoryx2: a publisher");
        let notifier = attached
            .events
            .as_ref()
            .map(|events| events.notifier_builder().create().expect("iceoryx2: a notifier"));
        Publishes { publisher, notifier, _attached: attached }
    }

    fn receiver(&self) -> impl Receiver {
        let attached = self.attach();
        let subscriber = attached
            .records
            .subscriber_builder()
            .buffer_size(self.n_queued)
            .create()
            .expect("iceoryx2: a subscriber");
        let listener = attached
            .events
            .as_ref()
            .map(|events| events.listener_builder().create().expect("iceoryx2: a listener"));
        Subscribes { subscriber, listener, _attached: attached }
    }
}

struct Publishes {
    publisher: Publisher<ipc::Service, [u8], ()>,
    notifier: Option<Notifier<ipc::Service>>,
    _attached: Attached,
}

impl Sender for Publishes {
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            let record = records.next_record();
            let sample = self.publisher.loan_slice_uninit(record.len()).expect("iceoryx2: a loan");
            sample.write_from_slice(record).send().expect("iceoryx2: send");
            if let Some(notifier) = &self.notifier {
                notifier.notify().expect("iceoryx2: notify");
            }
        }
    }
}

struct Subscribes {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    listener: Option<Listener<ipc::Service>>,
    _attached: Attached,
}

impl Receiver for Subscribes {
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        match (self.subscriber.receive().expect("iceoryx2: receive"), &self.listener) {
            (Some(sample), _) => each(sample.payload()),
            (None, Some(listener)) => {
                listener.timed_wait(|_| {}, NAP).expect("iceoryx2: timed_wait");
            }
            (None, None) => {}
        }
    }
}
