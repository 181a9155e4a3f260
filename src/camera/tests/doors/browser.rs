//! Chromium without a window, told what to do by its DevTools protocol over two pipes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

pub(crate) struct Browser {
    process: Child,
    commands: File,
    answers: BufReader<File>,
    number: u64,
    session: String,
    /// What went wrong on the page.
    pub(crate) errors: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Browser {
    /// None where there is no Chromium.
    pub(crate) fn open(width: u32, height: u32) -> Option<Browser> {
        let chromium = frcnn_testkit::program("chromium", "chromium")?;
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in ["in", "out"] {
            assert!(Command::new("mkfifo").arg(place(name)).status().unwrap().success());
        }
        // A shell opens the pipes as the descriptors that Chromium wants.
        let mut command = Command::new("sh");
        command.args(["-c", "in=$1 out=$2; shift 2; exec \"$@\" 3<\"$in\" 4>\"$out\"", "sh"]);
        command.arg(place("in")).arg(place("out")).arg(chromium);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]);
        // Nothing but this machine can be reached.
        command.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
        command.arg(format!("--user-data-dir={}", place("profile").display()));
        command.arg(format!("--window-size={width},{height}")).arg("about:blank");
        let process =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let commands = OpenOptions::new().write(true).open(place("in")).unwrap();
        let answers = BufReader::new(File::open(place("out")).unwrap());
        let session = String::new();
        let mut browser =
            Browser { process, commands, answers, number: 0, session, errors: Vec::new(), _folder: folder };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session =
            browser.ask("Target.attachToTarget", &target)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, &json!({}));
        }
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.ask("Emulation.setDeviceMetricsOverride", &size);
        Some(browser)
    }

    pub(crate) fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut bytes = Vec::new();
            assert!(self.answers.read_until(0, &mut bytes).unwrap() > 0, "chromium has gone");
            bytes.pop();
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            if answer["id"] == self.number {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            let entry = &answer["params"];
            match answer["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.errors.push(entry["exceptionDetails"].to_string()),
                Some("Log.entryAdded") if entry["entry"]["level"] == "error" => {
                    self.errors.push(entry["entry"].to_string())
                }
                Some("Page.javascriptDialogOpening") => self.errors.push(entry.to_string()),
                _ => {}
            }
        }
    }

    pub(crate) fn go(&mut self, address: &str) {
        self.ask("Page.navigate", &json!({ "url": address }));
    }

    /// What an expression is worth on the page.
    pub(crate) fn worth(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    pub(crate) fn wait(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.worth(&format!("Boolean({expression})")) != true {
            if begun.elapsed() > crate::PATIENCE {
                let text = self.worth("document.body.innerText");
                panic!("never: {expression}; {:?}; {text}", self.errors);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A click at a place of an element: shares of its width and height. What is clicked is looked up and clicked in one step, as pictures
    /// that come meanwhile move what is below them.
    pub(crate) fn click(&mut self, selector: &str, x: f64, y: f64) {
        let clicked = self.worth(&format!(
            "(() => {{ const e = document.querySelector({}); e.scrollIntoView({{ block: 'center' }}); \
             const r = e.getBoundingClientRect(), clientX = r.left + {x} * r.width, clientY = r.top + {y} * r.height; \
             const at = document.elementFromPoint(clientX, clientY); \
             at?.dispatchEvent(new MouseEvent('click', {{ clientX, clientY, bubbles: true, cancelable: true }})); \
             return at !== null; }})()",
            json!(selector)
        ));
        assert_eq!(clicked, true, "{selector} is not in view");
    }

    /// Writes a PNG.
    pub(crate) fn picture(&mut self, path: &Path) {
        let answer = self.ask("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        let png = base64::engine::general_purpose::STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
        std::fs::write(path, png).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
