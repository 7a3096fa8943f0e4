import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import type { Kafka } from 'kafkajs';
import { invariant } from '../../global/runtime/errors.js';

/**
 * The part of kafkajs 2.2.4 below its consumer: a cluster that keeps metadata and connections, and brokers that take one request of Kafka's
 * protocol each. kafkajs does not publish it, and its version is pinned. It is used where its consumer cannot keep the promises
 * of `LogConsumers`: that one joins a group anew before its owner could let go of the old partitions (so two members would own one), cannot
 * read without a group, and sets offsets only by joining the group; and where its producer copies what it sends five times, and gives the
 * sequence numbers of a failed request to the next one.
 */
export interface WireCluster {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  refreshMetadata(): Promise<void>;
  refreshMetadataIfNecessary(): Promise<void>;
  addMultipleTargetTopics(topics: readonly string[]): Promise<void>;
  removeBroker(address: { readonly host: string; readonly port: number }): void;
  findBroker(node: { readonly nodeId: string }): Promise<WireBroker>;
  findGroupCoordinator(group: { readonly groupId: string }): Promise<WireBroker>;
  /** Partitions by the id of their leader's node. */
  findLeaderForPartitions(topic: string, partitions: readonly number[]): Readonly<Record<string, number[]>>;
  fetchTopicsOffset(
    topics: readonly {
      readonly topic: string;
      readonly partitions: readonly { readonly partition: number }[];
      readonly fromBeginning?: boolean;
      readonly fromTimestamp?: number;
    }[],
  ): Promise<{ topic: string; partitions: { partition: number; offset: string }[] }[]>;
}

export interface WireGroup {
  readonly groupId: string;
  readonly memberId: string;
}

export interface WireTopic<P> {
  readonly topic: string;
  readonly partitions: readonly P[];
}

export interface WireMessage {
  readonly offset: string;
  readonly timestamp: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer | Buffer[] | null>>;
  readonly isControlRecord: boolean;
}

/** One connection: what kafkajs's own `send` does with it, so that a request can be sent without being copied. */
export interface WireConnection {
  readonly host: string;
  readonly port: number;
  readonly clientId: string;
  readonly socket: Socket;
  isConnected(): boolean;
  /** False also where a session of SASL is about to end. */
  isAuthenticated(): boolean;
  authenticate(): Promise<void>;
  nextCorrelationId(): number;
  readonly requestQueue: {
    /** `sendRequest` is called when the request is due; the entry settles with the answer without its correlation id. */
    push(request: {
      readonly entry: {
        readonly apiKey: number;
        readonly apiName: string;
        readonly apiVersion: number;
        readonly correlationId: number;
        resolve(answer: { readonly payload: Buffer }): void;
        reject(error: Error): void;
      };
      readonly expectResponse: true;
      readonly requestTimeout: null;
      sendRequest(): void;
    }): void;
    maybeThrottle(ms: number): void;
  };
}

export interface WireBroker {
  readonly nodeId: string | null;
  /** By API key; null before it is connected. */
  readonly versions: Readonly<Record<number, { readonly minVersion: number; readonly maxVersion: number }>> | null;
  readonly connectionPool: { getConnection(): Promise<WireConnection> };
  initProducerId(request: {
    readonly transactionalId: null;
    readonly transactionTimeout: number;
  }): Promise<{ producerId: string; producerEpoch: number }>;
  joinGroup(
    request: WireGroup & {
      readonly sessionTimeout: number;
      readonly rebalanceTimeout: number;
      readonly groupProtocols: readonly { readonly name: string; readonly metadata: Buffer }[];
    },
  ): Promise<{
    generationId: number;
    leaderId: string;
    memberId: string;
    members: { memberId: string; memberMetadata: Buffer }[];
  }>;
  syncGroup(
    request: WireGroup & {
      readonly generationId: number;
      readonly groupAssignment: readonly { readonly memberId: string; readonly memberAssignment: Buffer }[];
    },
  ): Promise<{ memberAssignment: Buffer }>;
  heartbeat(request: WireGroup & { readonly groupGenerationId: number }): Promise<unknown>;
  leaveGroup(request: WireGroup): Promise<unknown>;
  offsetCommit(
    request: WireGroup & {
      readonly groupGenerationId: number;
      readonly topics: readonly WireTopic<{ readonly partition: number; readonly offset: string }>[];
    },
  ): Promise<unknown>;
  offsetFetch(request: {
    readonly groupId: string;
    readonly topics: readonly WireTopic<{ readonly partition: number }>[];
  }): Promise<{ responses: { topic: string; partitions: { partition: number; offset: string }[] }[] }>;
  fetch(request: {
    readonly isolationLevel: number;
    readonly maxWaitTime: number;
    readonly minBytes: number;
    readonly maxBytes: number;
    readonly topics: readonly WireTopic<{
      readonly partition: number;
      readonly fetchOffset: string;
      readonly maxBytes: number;
    }>[];
  }): Promise<{
    responses: {
      topicName: string;
      partitions: { partition: number; highWatermark: string; messages: WireMessage[] }[];
    }[];
  }>;
}

/** A cluster of its own connections, with the settings of `kafka`. The owner disconnects it. */
export function wireCluster(kafka: Kafka): WireCluster {
  const symbol = Object.getOwnPropertySymbols(kafka).find((s) => s.description === 'private:Kafka:createCluster');
  invariant(symbol, 'kafkajs is of the pinned version, 2.2.4');
  const create = Reflect.get(kafka, symbol) as (options: object) => WireCluster;
  return create({ allowAutoTopicCreation: false, metadataMaxAge: METADATA_AGE_MAX_MS });
}

const METADATA_AGE_MAX_MS = 60_000;

/** What Kafka's protocol calls an error that a broker answered with: `type` is its name. */
export const errorOfCode: (code: number) => Error = createRequire(import.meta.url)(
  'kafkajs/src/protocol/error',
).createErrorFromCode;
