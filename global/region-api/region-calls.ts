import { Client, type ClientReadableStream, type MethodDefinition, type ServiceError } from '@grpc/grpc-js';
import { decodeTraceMetadata } from '../index/feed-codec.js';
import type { TraceMetadata } from '../model/metadata.js';
import type { SearchPosition } from '../model/query.js';
import type { ChannelSecurity } from '../runtime/channel-security.js';
import { MeridianError, messageOf } from '../runtime/errors.js';
import { positionFromWire } from './convert.js';
import { MESSAGE_BYTES_MAX, type WirePosition } from './messages.js';
import type { CallOptions } from './region-client.js';
import { fromServiceError } from './status-codes.js';

export interface RegionCallsOptions {
  /** Who is asked, as every error names it: "region us-east-1". */
  readonly of: string;
  /** host:port */
  readonly address: string;
  readonly security: ChannelSecurity;
}

const FLOW_CONTROL_WINDOW_BYTES = 4 * 1024 * 1024;

/** A channel to one region API, and calls on it that fail with a `MeridianError`. It connects when it is first used and reconnects by itself. */
export class RegionCalls {
  readonly #of: string;
  readonly #client: Client;

  constructor({ of, address, security }: RegionCallsOptions) {
    this.#of = of;
    this.#client = new Client(address, security.grpcChannel(), {
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
      // With HTTP/2's 64 KiB a region that is 80 ms away could send no more than 800 KB/s.
      'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
      // A region that comes back is found within a second; the default backs off to two minutes.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      // A peer that hangs (stopped, cut off) must not hold a stream open for ever.
      'grpc.keepalive_time_ms': 5000,
      'grpc.keepalive_timeout_ms': 3000,
    });
  }

  close(): void {
    this.#client.close();
  }

  attempt(method: string): string {
    return `${method} at ${this.#of}`;
  }

  malformed(method: string, why: string): MeridianError {
    return new MeridianError('malformed', `${this.attempt(method)}: answer makes no sense: ${why}`, 'later');
  }

  /** Whatever decoding throws is the peer's fault: `malformed`, naming it. */
  decoded<T>(method: string, decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      if (error instanceof MeridianError && error.code === 'unknown-version') throw error;
      throw this.malformed(method, messageOf(error));
    }
  }

  /** The matches of an answer, no more than were asked for. */
  matches(
    method: string,
    matches: readonly { position: WirePosition | null; metadata: Buffer }[],
    limit: number,
  ): { position: SearchPosition; metadata: TraceMetadata }[] {
    if (matches.length > limit) throw this.malformed(method, 'more matches than were asked for');
    return this.decoded(method, () =>
      matches.map(({ position, metadata }) => {
        if (!position) throw this.malformed(method, 'a match without its position');
        return { position: positionFromWire(position, 'match'), metadata: decodeTraceMetadata(metadata) };
      }),
    );
  }

  unary<Q, A>(method: MethodDefinition<Q, A>, request: Q, { deadlineMs, signal }: CallOptions): Promise<A> {
    const attempt = this.attempt(method.originalName ?? method.path);
    return new Promise((resolve, reject) => {
      const abort = () => call.cancel();
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        { deadline: Date.now() + deadlineMs },
        (error: ServiceError | null, answer?: A) => {
          signal?.removeEventListener('abort', abort);
          if (error) reject(fromServiceError(error, attempt));
          else resolve(answer as A);
        },
      );
      if (signal?.aborted) abort();
      else signal?.addEventListener('abort', abort, { once: true });
    });
  }

  async *stream<Q, A>(
    method: MethodDefinition<Q, A>,
    request: Q,
    signal: AbortSignal | undefined,
    deadlineMs?: number,
  ): AsyncIterable<A> {
    const attempt = this.attempt(method.originalName ?? method.path);
    const call: ClientReadableStream<A> = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs },
    );
    const abort = () => call.cancel();
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
    try {
      for await (const message of call) yield message as A;
    } catch (error) {
      if (error instanceof MeridianError) throw error;
      throw fromServiceError(error as ServiceError, attempt);
    } finally {
      signal?.removeEventListener('abort', abort);
      call.cancel();
    }
  }
}
