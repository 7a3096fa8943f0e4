import {
  type handleUnaryCall,
  Metadata,
  ResponderBuilder,
  Server,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
  type ServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import type { ChannelSecurity, ListenAddress } from '../../global/runtime/channel-security.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import {
  type FlowControlWindows,
  widenConnectionWindow,
  widenStreamWindow,
} from '../../global/runtime/http2-windows.js';
import { closeGrpc, listenGrpc } from '../../global/runtime/listening.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { Service } from '../../global/runtime/service.js';
import type { Admission, Ticket } from './admission.js';
import { detailOf, type Failure, failureOf } from './failure.js';
import { exportResponse, statusMessage } from './otlp-answers.js';
import { acceptSpans, type Pipeline } from './pipeline.js';
import { readOtlp } from './protocol.js';
import { Receiving } from './receiving.js';

export interface OtlpGrpcOptions {
  readonly listen: ListenAddress;
  readonly security: ChannelSecurity;
  readonly pipeline: Pipeline;
  readonly admission: Admission;
  /** A message as sent, and after decompression: grpc-js knows one limit for both. */
  readonly messageBytesMax: number;
  readonly streamsPerConnectionMax: number;
  /** Calls whose message is still on its way: what bounds memory that no ticket counts yet. */
  readonly receivingMax: number;
  /** From the head of a call to the end of its message. */
  readonly requestTimeoutMs: number;
  readonly retryAfterMs: number;
  readonly drainMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

const identity = (bytes: Buffer): Buffer => bytes;

/** The trace service of opentelemetry-proto v1 with raw messages: grpc-js passes the bytes through, nothing is decoded. */
export const traceService = {
  Export: {
    path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
    requestStream: false,
    responseStream: false,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  },
} satisfies ServiceDefinition;

const PROTOCOL = 'otlp-grpc';

/** A few batches of an SDK at once per connection. */
export const WINDOWS: FlowControlWindows = { streamBytes: 1024 * 1024, connectionBytes: 8 * 1024 * 1024 };

/** OTLP/gRPC. One start, one stop. */
export class OtlpGrpcListener implements Service {
  readonly #options: OtlpGrpcOptions;
  readonly #server: Server;
  #address: ListenAddress | null = null;
  readonly #receiving: Receiving;
  #stopping: Promise<void> | null = null;

  constructor(options: OtlpGrpcOptions) {
    this.#options = options;
    this.#receiving = new Receiving(options.receivingMax, options.requestTimeoutMs, options.clock);
    this.#server = new Server({
      'grpc.max_receive_message_length': options.messageBytesMax,
      'grpc.max_concurrent_streams': options.streamsPerConnectionMax,
      'grpc.enable_channelz': 0,
      interceptors: [this.#admit],
    });
    widenStreamWindow(this.#server, WINDOWS);
    const Export: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
      void this.#export(call.request).then(
        (answer) => callback(null, answer),
        (failure: Failure) => callback(serviceError(failure)),
      );
    };
    this.#server.addService(traceService, { Export });
  }

  get address(): ListenAddress {
    if (this.#address) return this.#address;
    throw new MeridianError('unavailable', 'the OTLP/gRPC listener does not listen yet', 'later');
  }

  async start(): Promise<void> {
    const { listen, security } = this.#options;
    this.#address = await listenGrpc(this.#server, listen, { name: 'OTLP/gRPC' }, security);
    widenConnectionWindow(this.#server, WINDOWS);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#drain();
    return this.#stopping;
  }

  async #drain(): Promise<void> {
    await closeGrpc(this.#server, this.#options.drainMs, this.#options.clock);
    this.#receiving.close();
  }

  /** Rejects with a Failure. */
  async #export(body: Buffer): Promise<Buffer> {
    const { admission, clock, logger, pipeline, retryAfterMs } = this.#options;
    const startedMs = clock.monotonicMs();
    let ticket: Ticket | null = null;
    try {
      ticket = admission.enter(body.length);
      const outcome = await acceptSpans(pipeline, PROTOCOL, { bytes: body, release() {} }, readOtlp, ticket);
      pipeline.metrics.acknowledged(PROTOCOL, outcome.acceptedCount, clock.monotonicMs() - startedMs);
      return exportResponse(outcome);
    } catch (error) {
      const failure = failureOf(error, retryAfterMs);
      if (failure.code === 'internal') {
        logger.error({ protocol: PROTOCOL, detail: detailOf(error) }, 'a request failed for a reason of ours');
      }
      pipeline.metrics.failed(PROTOCOL, failure.code);
      throw failure;
    } finally {
      ticket?.leave();
    }
  }

  /** Refuses a call before its message is read where too many are being read already, and gives a slow one its end. */
  readonly #admit: ServerInterceptor = (_method, call) => {
    const refuse = (error: MeridianError) => {
      const failure = failureOf(error, this.#options.retryAfterMs);
      this.#options.pipeline.metrics.failed(PROTOCOL, failure.code);
      intercepting.sendStatus(statusOf(failure));
    };
    let received = () => {};
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        try {
          received = this.#receiving.enter(refuse);
        } catch (error) {
          return refuse(error as MeridianError);
        }
        next(metadata);
      })
      .withOnReceiveMessage((message, next) => {
        received();
        next(message);
      })
      .withOnCancel(() => received())
      .build();
    const responder = new ResponderBuilder().withStart((next) => next(listener)).build();
    const intercepting = new ServerInterceptingCall(call, responder);
    return intercepting;
  };
}

function statusOf(failure: Failure): { code: number; details: string; metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', statusMessage(failure));
  return { code: failure.grpcStatus, details: wellFormed(failure.message), metadata };
}

function serviceError(failure: Failure): Partial<ServiceError> {
  const { code, details, metadata } = statusOf(failure);
  return { code, details, metadata };
}

/** grpc-js percent-encodes the message with `encodeURI`, which throws on half a surrogate pair. */
function wellFormed(text: string): string {
  return Buffer.from(text).toString();
}
