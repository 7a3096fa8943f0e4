import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Client, credentials } from '@grpc/grpc-js';

/** Sends one prepared batch and resolves when it was acknowledged; rejects on any other answer. One request at a time per sender. */
export interface BatchSender {
  send(batch: Buffer): Promise<void>;
  close(): void;
}

export interface Target {
  readonly host: string;
  readonly port: number;
}

/**
 * OTLP/HTTP over one kept-alive connection. Not `node:http`: on a machine with two cores a client that costs as much as
 * the server measures itself. It understands just what the collector answers: a head, and a body of the announced length.
 */
export async function httpSender(target: Target): Promise<BatchSender> {
  const socket = connect(target.port, target.host);
  await once(socket, 'connect');
  socket.setNoDelay(true);
  const heads = new Map<number, Buffer>();
  return {
    send(batch) {
      let head = heads.get(batch.length);
      if (!head) {
        head = Buffer.from(
          `POST /v1/traces HTTP/1.1\r\nHost: ${target.host}:${target.port}\r\n` +
            `Content-Type: application/x-protobuf\r\nContent-Length: ${batch.length}\r\n\r\n`,
        );
        heads.set(batch.length, head);
      }
      const answered = readAnswer(socket);
      socket.cork();
      socket.write(head);
      socket.write(batch);
      socket.uncork();
      return answered;
    },
    close: () => socket.destroy(),
  };
}

function readAnswer(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const settle = (error?: Error) => {
      socket.off('data', data);
      socket.off('error', settle);
      socket.off('close', closed);
      if (error) reject(error);
      else resolve();
    };
    const closed = () => settle(new Error('the collector closed the connection'));
    const data = (chunk: Buffer) => {
      answer += chunk.toString('latin1');
      const headEnd = answer.indexOf('\r\n\r\n');
      if (headEnd < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(answer)?.[1] ?? 0);
      if (answer.length < headEnd + 4 + length) return;
      if (answer.startsWith('HTTP/1.1 200') && length === 0) settle();
      else settle(new Error(`the collector answered: ${answer.slice(0, 300)}`));
    };
    socket.on('data', data);
    socket.on('error', settle);
    socket.on('close', closed);
  });
}

const identity = (bytes: Buffer): Buffer => bytes;

/** OTLP/gRPC over a channel of its own, with raw buffers. */
export async function grpcSender(target: Target): Promise<BatchSender> {
  const client = new Client(`${target.host}:${target.port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc-node.flow_control_window': 1024 * 1024,
  });
  return {
    send: (batch) =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
          identity,
          identity,
          batch,
          (error, answer) => {
            if (error) reject(error);
            else if (answer?.length) reject(new Error(`the collector answered: ${answer.toString('latin1')}`));
            else resolve();
          },
        );
      }),
    close: () => client.close(),
  };
}

/** Closed loop: every sender sends its next batch when the last was acknowledged. Resolves with the number acknowledged. */
export async function sendClosedLoop(
  senders: readonly BatchSender[],
  batches: readonly Buffer[],
  durationMs: number,
): Promise<number> {
  const endMs = performance.now() + durationMs;
  let next = 0;
  let acknowledged = 0;
  await Promise.all(
    senders.map(async (sender) => {
      while (performance.now() < endMs) {
        await sender.send(batches[next++ % batches.length]!);
        acknowledged++;
      }
    }),
  );
  return acknowledged;
}

/**
 * Open loop: a batch is due every `intervalMs` whether or not the ones before were acknowledged; a latency counts from when the batch was
 * due. Batches that are due while no sender is free wait for one, and their waiting counts.
 */
export async function sendOpenLoop(
  senders: readonly BatchSender[],
  batches: readonly Buffer[],
  intervalMs: number,
  durationMs: number,
): Promise<number[]> {
  const startMs = performance.now();
  const count = Math.floor(durationMs / intervalMs);
  const latenciesMs: number[] = [];
  const free = [...senders];
  const waiting: (() => void)[] = [];
  const sending: Promise<void>[] = [];
  const sendOne = async (index: number) => {
    while (free.length === 0) await new Promise<void>((resolve) => waiting.push(resolve));
    const sender = free.pop()!;
    await sender.send(batches[index % batches.length]!);
    latenciesMs.push(performance.now() - startMs - index * intervalMs);
    free.push(sender);
    waiting.shift()?.();
  };
  for (let index = 0; index < count; index++) {
    const waitMs = startMs + index * intervalMs - performance.now();
    // setTimeout rounds to whole milliseconds and may be late; being late counts as latency of the load, so the last part is polled.
    if (waitMs > 1.5) await new Promise<void>((resolve) => setTimeout(resolve, waitMs - 1.2));
    while (performance.now() < startMs + index * intervalMs)
      await new Promise<void>((resolve) => setImmediate(resolve));
    sending.push(sendOne(index));
  }
  await Promise.all(sending);
  return latenciesMs;
}
