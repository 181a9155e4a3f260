"""A camera that speaks RTSP, as far as ffmpeg and GStreamer ask: a film over and over, over TCP, to any number of clients.

ffmpeg cuts the film into packets of RTP, for each client anew, so that everyone begins with a key frame.
"""

import base64
import socket
import subprocess
import threading


class Server:
    """At `url`, for a user (`name:password`); `played` counts the clients that have got a stream."""

    def __init__(self, film, user):
        self.film, self.played = film, 0
        self.expect(user)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self.listener.getsockname()[1]}/stream"
        # Set: connections stay, and nothing comes.
        self.silent = threading.Event()
        self.connections, self.lock = set(), threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def expect(self, user):
        self.wanted = "Basic " + base64.b64encode(user.encode()).decode()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections.add(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def hang_up(self):
        """On all clients, in the middle of a frame."""
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()

    def serve(self, connection):
        child, send = None, threading.Lock()
        try:
            with connection, connection.makefile("rb") as requests:
                while child is None or child.poll() is None:
                    method, headers = request(requests)
                    if method is None:
                        return
                    status, answer, body = self.answer(method, headers)
                    lines = [f"RTSP/1.0 {status}", f"CSeq: {headers['cseq']}", *answer, f"Content-Length: {len(body)}", "", body]
                    with send:
                        connection.sendall("\r\n".join(lines).encode())
                    if method == "PLAY" and status == "200 OK":
                        packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                        packets.bind(("127.0.0.1", 0))
                        child = subprocess.Popen(packetizer(self.film, packets.getsockname()[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                        threading.Thread(target=self.relay, args=(packets, connection, send), daemon=True).start()
                        self.played += 1
        except (OSError, subprocess.CalledProcessError):
            # Whoever asked is gone, or the film is.
            pass
        finally:
            if child:
                child.kill()
                child.wait()
            with self.lock:
                self.connections.discard(connection)

    def answer(self, method, headers):
        if headers.get("authorization") != self.wanted:
            return "401 Unauthorized", ['WWW-Authenticate: Basic realm="camera"'], ""
        if method == "OPTIONS":
            return "200 OK", ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"], ""
        if method == "DESCRIBE":
            return "200 OK", ["Content-Type: application/sdp", f"Content-Base: {self.url}/"], self.description()
        if method == "SETUP" and "TCP" not in headers.get("transport", ""):
            return "461 Unsupported Transport", [], ""
        if method == "SETUP":
            return "200 OK", ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"], ""
        return "200 OK", ["Session: 1"], ""

    def description(self):
        """As ffmpeg puts it."""
        command = packetizer(self.film, 9, "-t", "0")
        said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.decode()
        lines = [line.strip() for line in said.splitlines() if line.strip() and line.strip() != "SDP:"]
        return "\r\n".join([*lines, "a=control:track0", ""])

    def relay(self, packets, connection, send):
        try:
            with packets:
                packets.settimeout(10)
                while True:
                    packet = packets.recv(2000)
                    with send:
                        if not self.silent.is_set():
                            connection.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
        except OSError:
            pass


def packetizer(film, port, *how):
    """Sends a film in packets to a port of this machine, and says of what kind they are."""
    target = f"rtp://127.0.0.1:{port}?pkt_size=1200"
    return ["ffmpeg", "-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", film, *how, "-an", "-c:v", "copy", "-f", "rtp", target]


def request(requests):
    """Method and headers; what clients say of the packets that they got is passed over."""
    while (first := requests.read(1)) == b"$":
        _, length = requests.read(1), int.from_bytes(requests.read(2), "big")
        requests.read(length)
    line = (first + requests.readline()).decode()
    if not line.strip():
        return None, {}
    headers = {}
    while text := requests.readline().decode().strip():
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    return line.split()[0], headers
