"""A plain server on ONNX Runtime, in ten lines: plain.py MODEL.onnx PORT THREADS"""
import io, json, sys, http.server, numpy, onnxruntime, PIL.Image  # noqa: E401

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1], options)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        photo = PIL.Image.open(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"])))).convert("RGB")
        boxes, labels, scores = session.run(None, {"image": numpy.asarray(photo, numpy.float32).transpose(2, 0, 1) / 255})[:3]
        reply = json.dumps([b.tolist() for b in (boxes, labels, scores)]).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(reply))); self.end_headers(); self.wfile.write(reply)
    def log_message(self, *_): pass

http.server.ThreadingHTTPServer.request_queue_size = 128  # 5 clients could connect at once
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
