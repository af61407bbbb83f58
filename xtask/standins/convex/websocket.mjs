// The server side of WebSockets (RFC 6455): text frames, pings, and close.
import crypto from "node:crypto";

const MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const LARGEST_MESSAGE = 16 * 1024 * 1024;
const OPCODES = { continuation: 0, text: 1, close: 8, ping: 9, pong: 10 };

function frame(opcode, payload) {
  const { length } = payload;
  const header = Buffer.alloc(length < 126 ? 2 : length < 65536 ? 4 : 10);
  header[0] = 0x80 | opcode;
  if (length < 126) {
    header[1] = length;
  } else if (length < 65536) {
    header[1] = 126;
    header.writeUInt16BE(length, 2);
  } else {
    header[1] = 127;
    header.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([header, payload]);
}

// Takes over the socket of an upgrade request. `onText` gets each message, `onClose` is called once.
export function acceptWebSocket(request, socket, { onText, onClose }) {
  const key = request.headers["sec-websocket-key"];
  if (request.headers.upgrade?.toLowerCase() !== "websocket" || !key) {
    socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    return undefined;
  }
  const accept = crypto.createHash("sha1").update(key + MAGIC).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.setNoDelay(true);
  let received = Buffer.alloc(0);
  let parts = [];
  const send = (opcode, payload) => socket.writable && socket.write(frame(opcode, payload));
  const ping = setInterval(() => send(OPCODES.ping, Buffer.alloc(0)), 5000);

  function next() {
    if (received.length < 2) return false;
    let length = received[1] & 0x7f;
    let start = 2;
    if (length === 126) {
      if (received.length < 4) return false;
      length = received.readUInt16BE(2);
      start = 4;
    } else if (length === 127) {
      if (received.length < 10) return false;
      length = Number(received.readBigUInt64BE(2));
      start = 10;
    }
    if (length > LARGEST_MESSAGE || (received[1] & 0x80) === 0) {
      socket.destroy(); // Too long, or not masked, which client frames must be.
      return false;
    }
    if (received.length < start + 4 + length) return false;
    const mask = received.subarray(start, start + 4);
    const payload = Buffer.from(received.subarray(start + 4, start + 4 + length)).map((byte, index) => byte ^ mask[index & 3]);
    const [final, opcode] = [(received[0] & 0x80) !== 0, received[0] & 0x0f];
    received = received.subarray(start + 4 + length);
    if (opcode === OPCODES.ping) send(OPCODES.pong, payload);
    else if (opcode === OPCODES.close) socket.end(frame(OPCODES.close, payload.subarray(0, 2)));
    else if (opcode === OPCODES.text || opcode === OPCODES.continuation) {
      parts.push(payload);
      if (final) {
        const text = Buffer.concat(parts).toString();
        parts = [];
        onText(text);
      }
    }
    return true;
  }

  socket.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
    while (next());
  });
  socket.on("error", () => socket.destroy());
  socket.on("close", () => {
    clearInterval(ping);
    onClose();
  });
  return {
    send: (text) => send(OPCODES.text, Buffer.from(text)),
    // 1001: the server is going away; clients reconnect. Do not wait for their answer.
    close: () => {
      socket.end(frame(OPCODES.close, Buffer.from([0x03, 0xe9])));
      setTimeout(() => socket.destroy(), 500).unref();
    },
  };
}
