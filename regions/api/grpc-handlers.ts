import type { handleUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { toStatus } from '../../global/region-api/status-codes.js';
import { MeridianError } from '../../global/runtime/errors.js';

/** A unary handler; its signal aborts when the caller is gone. */
export function unary<Q, A>(handle: (request: Q, signal: AbortSignal) => Promise<A>): handleUnaryCall<Q, A> {
  return (call, callback) => {
    const gone = new AbortController();
    call.on('cancelled', () => gone.abort());
    handle(call.request, gone.signal).then(
      (value) => callback(null, value),
      (error) => callback(toStatus(error)),
    );
  };
}

/** Runs a streaming handler to its end, and tells its failure as the stream's status. */
export function answerStream<Q, A>(call: ServerWritableStream<Q, A>, handle: () => Promise<void>): void {
  handle().then(
    () => call.end(),
    (error) => call.emit('error', toStatus(error)),
  );
}

/** Writes one message and waits while the peer is slower than we are, or gone. */
export function writeMessage<Q, A>(call: ServerWritableStream<Q, A>, message: A): Promise<void> {
  if (call.cancelled) throw new MeridianError('timeout', 'the caller is gone', 'never');
  if (call.write(message)) return Promise.resolve();
  return new Promise((resolve) => {
    const go = () => {
      call.off('drain', go);
      call.off('cancelled', go);
      resolve();
    };
    call.on('drain', go);
    call.on('cancelled', go);
  });
}
