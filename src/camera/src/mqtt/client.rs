//! The thread that speaks with the broker.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Packet,
    PublishNoticeError, PublishOptions, PublishResult, QoS,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, sleep_until, timeout};

use super::discovery;
use super::outbox::{Item, Outbox};
use super::topics::Topics;
use crate::event::CameraEvent;
use crate::status::{State, Status, Total};

/// Handed to the broker and not acknowledged yet; few, so that the queue stays in our hands.
const IN_FLIGHT: usize = 16;
/// How often states of cameras are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// What the last message may take.
const LAST: Duration = Duration::from_secs(1);

/// What the network's thread shares with those who publish.
pub(super) struct Shared {
    pub(super) outbox: Mutex<Outbox>,
    /// There is something to be published, or all is to be closed.
    pub(super) wake: Notify,
    pub(super) status: Arc<Status>,
    pub(super) topics: Topics,
    pub(super) discovery: bool,
    /// The camera is the command line's, and has no name.
    pub(super) single: bool,
    /// Names of the cameras whose states are told.
    pub(super) cameras: Mutex<Vec<Arc<str>>>,
    /// Of the broker, for events.
    pub(super) address: String,
}

impl Shared {
    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, event: &'static str, detail: String) {
        self.status.report(CameraEvent::now(None, event, detail));
    }

    fn dropped(&self, lines: usize) {
        self.status.add(Total::MqttDropped, lines as u64);
    }
}

/// What comes from the network.
enum News {
    Connected,
    /// The broker has taken a subscription.
    Subscribed,
    /// The connection was lost, or could not be made.
    Failed(String),
    /// Topic, payload, and whether the broker had kept it.
    Message(String, Bytes, bool),
}

/// Publishes until all is closed.
pub(super) fn run(options: MqttOptions, shared: &Shared) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let built = AsyncClient::builder(options).capacity(4 * IN_FLIGHT).try_build();
    let (runtime, (client, events)) = match (runtime, built) {
        (Ok(runtime), Ok(built)) => (runtime, built),
        (Err(error), _) => return shared.report("mqtt_failed", error.to_string()),
        (_, Err(error)) => return shared.report("mqtt_failed", error.to_string()),
    };
    let publisher = Publisher {
        client,
        shared,
        in_flight: FuturesUnordered::new(),
        lines: 0,
        connected: false,
        failure: None,
        online_until: None,
        echoes: 0,
        told_shared: false,
    };
    let unsettled = runtime.block_on(publisher.run(events));
    shared.status.set(Total::MqttConnected, 0);
    let left = shared.outbox().give_up();
    shared.dropped(unsettled + left);
}

/// Drives the connection, and makes it again after 1, 2, 4 ... 30 seconds. A future of its own, since making a connection
/// cannot be taken up where it was left.
async fn drive(mut events: EventLoop, news: mpsc::Sender<News>) {
    let mut wait = Duration::from_secs(1);
    loop {
        let told = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                wait = Duration::from_secs(1);
                News::Connected
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => News::Subscribed,
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let topic = String::from_utf8_lossy(&message.topic).into_owned();
                News::Message(topic, message.payload, message.retain)
            }
            Ok(_) => continue,
            // Closed by us.
            Err(ConnectionError::RequestsDone | ConnectionError::DisconnectTimeout) => return,
            Err(error) => News::Failed(explain(&error)),
        };
        let failed = matches!(told, News::Failed(_));
        if news.send(told).await.is_err() {
            return;
        }
        if failed {
            sleep(wait).await;
            wait = (2 * wait).min(Duration::from_secs(30));
        }
    }
}

fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::BadUserNamePassword => {
                "the broker refuses this user name or password".to_owned()
            }
            ConnectReturnCode::NotAuthorized => {
                "the broker refuses: not authorised; it may want a user in the URL, and a password".to_owned()
            }
            ConnectReturnCode::RefusedProtocolVersion => {
                "the broker refuses: it does not take MQTT 3.1.1".to_owned()
            }
            ConnectReturnCode::BadClientId => "the broker refuses the client's name".to_owned(),
            ConnectReturnCode::ServiceUnavailable => {
                "the broker refuses: it takes no clients at present".to_owned()
            }
            ConnectReturnCode::Success => "the broker refuses, and says that it does not".to_owned(),
        },
        ConnectionError::Io(error) => error.to_string(),
        ConnectionError::NetworkTimeout => "no answer within 5 seconds".to_owned(),
        other => other.to_string(),
    }
}

type Outcome = (Item, Result<PublishResult, PublishNoticeError>);
type Waiting = Pin<Box<dyn Future<Output = Outcome> + Send>>;

struct Publisher<'a> {
    client: AsyncClient,
    shared: &'a Shared,
    in_flight: FuturesUnordered<Waiting>,
    /// Lines among them.
    lines: usize,
    connected: bool,
    /// Why the broker could not be reached, as it was told last.
    failure: Option<String>,
    /// When to say `online` at the latest, if that was not said yet: the broker is to repeat it, so the subscription comes first.
    online_until: Option<Instant>,
    /// How often the broker is still to repeat our own `online`.
    echoes: usize,
    /// It was told that there is another's.
    told_shared: bool,
}

impl Publisher<'_> {
    /// How many lines are handed over and not acknowledged in the end.
    async fn run(mut self, events: EventLoop) -> usize {
        let (sender, mut news) = mpsc::channel(64);
        let driver = tokio::spawn(drive(events, sender));
        let mut look = tokio::time::interval(LOOK);
        loop {
            let closing = self.shared.outbox().closing();
            if let Some(until) = closing {
                let sent = self.shared.outbox().is_empty() && self.in_flight.is_empty();
                // What cannot be reached is not waited for.
                let hopeless = !self.connected && self.failure.is_some();
                if (self.connected && sent) || hopeless || Instant::now() >= until {
                    break;
                }
            }
            tokio::select! {
                told = news.recv() => match told {
                    Some(told) => self.hear(told).await,
                    None => break,
                },
                Some(outcome) = self.in_flight.next(), if !self.in_flight.is_empty() => self.settle(outcome),
                () = self.shared.wake.notified() => {}
                _ = look.tick() => self.look(),
                () = sleep_until(self.online_until.unwrap_or_else(Instant::now).into()), if self.online_until.is_some() => {
                    self.say_online();
                }
                () = sleep_until(closing.unwrap_or_else(Instant::now).into()), if closing.is_some() => {}
            }
            if self.connected {
                self.publish();
            }
        }
        let unsettled = self.lines;
        self.leave(&mut news).await;
        driver.abort();
        unsettled
    }

    async fn hear(&mut self, news: News) {
        let shared = self.shared;
        match news {
            News::Connected => {
                self.connected = true;
                shared.status.set(Total::MqttConnected, 1);
                // A new session: what was in flight in the old one has failed, and goes first.
                let settle = async {
                    while let Some(outcome) = self.in_flight.next().await {
                        self.settle(outcome);
                    }
                };
                let _ = timeout(LAST, settle).await;
                let mut outbox = shared.outbox();
                outbox.withdraw(&shared.topics.availability());
                outbox.again("");
                drop(outbox);
                (self.online_until, self.echoes) = (Some(Instant::now() + LAST), 0);
                let mut topics = vec![shared.topics.availability()];
                if shared.discovery {
                    topics.extend([discovery::STATUS.to_owned(), discovery::filter(&shared.topics)]);
                }
                for topic in topics {
                    // Its queue is long enough for these.
                    let _ = self.client.try_subscribe(topic, QoS::AtLeastOnce);
                }
                if self.failure.take().is_some() {
                    shared.report("mqtt_connected", shared.address.clone());
                }
            }
            // That of the availability is the first.
            News::Subscribed => self.say_online(),
            News::Failed(why) => {
                self.online_until = None;
                shared.status.add(Total::MqttFailed, 1);
                shared.status.set(Total::MqttConnected, 0);
                let lost = std::mem::take(&mut self.connected);
                if self.failure.as_ref() != Some(&why) {
                    let event = if lost { "mqtt_lost" } else { "mqtt_unreachable" };
                    shared.report(event, format!("{}: {why}", shared.address));
                }
                self.failure = Some(why);
            }
            News::Message(topic, payload, kept) if topic == discovery::STATUS => {
                // One that was kept is of before; all has been published since.
                if !kept && payload == "online" {
                    let mut outbox = shared.outbox();
                    outbox.again("homeassistant/");
                    outbox.again(&format!("{}/", shared.topics.prefix()));
                }
            }
            News::Message(topic, payload, kept) if topic == shared.topics.availability() => {
                // What was kept is of before.
                if !kept {
                    self.hear_availability(&payload);
                }
            }
            News::Message(topic, payload, kept) => {
                let mut outbox = shared.outbox();
                let ours = discovery::is_ours(&shared.topics, &topic)
                    && !discovery::is_anothers(&shared.topics, &payload);
                if kept && ours && !payload.is_empty() && !outbox.keeps(&topic) {
                    let states = discovery::states_of(&shared.topics, &payload);
                    for topic in states.into_iter().filter(|topic| !outbox.keeps(topic)).collect::<Vec<_>>() {
                        outbox.forget(topic);
                    }
                    outbox.forget(topic);
                }
            }
        }
    }

    fn say_online(&mut self) {
        if self.online_until.take().is_some() {
            let availability = self.shared.topics.availability();
            self.shared.outbox().retain(availability, Bytes::from_static(b"online"));
        }
    }

    /// Somebody has said `online` or `offline` in our place.
    fn hear_availability(&mut self, payload: &[u8]) {
        let shared = self.shared;
        let again = || shared.outbox().again(&shared.topics.availability());
        match payload {
            b"online" if self.echoes > 0 => self.echoes -= 1,
            b"online" if !self.told_shared => {
                self.told_shared = true;
                let problem = format!(
                    "{}: another daemon is there as well, and its end is taken for this one's; give each a name (a key of [mqtt]) or a prefix of its own",
                    shared.topics.availability()
                );
                shared.report("mqtt_shared", problem);
                // The other one is to know as well.
                again();
            }
            // The broker of a connection that was lost, or of a process that was killed; or the other daemon.
            b"offline" => again(),
            _ => {}
        }
    }

    /// Hands over as much as may be in flight.
    fn publish(&mut self) {
        while self.in_flight.len() < IN_FLIGHT {
            let Some(item) = self.shared.outbox().take() else { return };
            let quality = PublishOptions::new(QoS::AtLeastOnce);
            let sent = match &item {
                Item::Line(_, line) => {
                    self.client.try_publish_tracked(&*line.topic, line.payload.clone(), quality)
                }
                Item::Retained(topic, payload) => {
                    self.client.try_publish_tracked(topic.as_str(), payload.clone(), quality.retained())
                }
            };
            match sent {
                Ok(notice) => {
                    let availability = self.shared.topics.availability();
                    self.echoes +=
                        usize::from(matches!(&item, Item::Retained(topic, _) if *topic == availability));
                    self.lines += usize::from(matches!(item, Item::Line(..)));
                    self.in_flight.push(Box::pin(async { (item, notice.wait_async().await) }));
                }
                Err(_) => {
                    // The client's queue is full: later.
                    let given_up = self.shared.outbox().give_back(item);
                    self.shared.dropped(given_up);
                    return;
                }
            }
        }
    }

    fn settle(&mut self, (item, result): Outcome) {
        self.lines -= usize::from(matches!(item, Item::Line(..)));
        let mut outbox = self.shared.outbox();
        match result {
            Ok(_) => {
                outbox.done(&item);
                if let Item::Line(..) = item {
                    self.shared.status.add(Total::MqttPublished, 1);
                }
            }
            Err(_) => {
                let given_up = outbox.give_back(item);
                self.shared.dropped(given_up);
            }
        }
    }

    /// States of cameras change without a message.
    fn look(&self) {
        let known = self.shared.cameras.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for camera in self.shared.status.cameras().iter().filter(|camera| known.contains(camera.name())) {
            let name = if self.shared.single { "" } else { &**camera.name() };
            let state: State = camera.state();
            let topic = self.shared.topics.of_camera(name, "state");
            self.shared.outbox().retain(topic, Bytes::from_static(state.name().as_bytes()));
        }
    }

    /// Says goodbye, so that the broker need not say it for us.
    async fn leave(self, news: &mut mpsc::Receiver<News>) {
        if self.connected {
            let retained = PublishOptions::new(QoS::AtLeastOnce).retained();
            let topic = self.shared.topics.availability();
            if let Ok(notice) =
                self.client.try_publish_tracked(topic, Bytes::from_static(b"offline"), retained)
            {
                let heard = async { while news.recv().await.is_some() {} };
                tokio::select! {
                    _ = timeout(LAST, notice.wait_async()) => {}
                    () = heard => {}
                }
            }
            let _ = self.client.try_disconnect_with_timeout(LAST);
            let _ = timeout(LAST, async { while news.recv().await.is_some() {} }).await;
        }
    }
}
