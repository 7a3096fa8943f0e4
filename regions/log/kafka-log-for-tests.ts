import { mkdtempSync, rmSync } from 'node:fs';
import { connect, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ISocketFactory } from 'kafkajs';
import { Registry } from 'prom-client';
import type { SpanLog } from '../../global/log/span-log.js';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { type KafkaBroker, startKafka } from '../../scripts/engines/kafka-broker.js';
import { enginesCache } from '../../scripts/engines/maven-jars.js';
import { type KafkaSpanLogOptions, openKafkaSpanLog } from './kafka-span-log.js';

/** A broker in a folder of its own, for one test file. Retention and lost members are noticed quickly. */
export async function brokerForTests(): Promise<{ broker: KafkaBroker; dispose(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-kafka-'));
  const broker = await startKafka({
    folder,
    cacheFolder: enginesCache(process.env),
    onProgress: (line) => console.log(line),
    settings: {
      'log.retention.check.interval.ms': '200',
      'log.initial.task.delay.ms': '100',
      'group.min.session.timeout.ms': '500',
    },
  });
  return {
    broker,
    dispose: async () => {
      await broker.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Connections that can be cut for good, as those of a killed process are. */
export class CuttableNetwork {
  readonly #sockets = new Set<Socket>();
  #cut = false;

  readonly socketFactory: ISocketFactory = ({ host, port, onConnect }) => {
    // No maximum: kafkajs puts a listener on a dead socket each time that it gives its connection up.
    if (this.#cut) return new Socket().setMaxListeners(0).destroy(new Error('cut'));
    const socket = connect({ host, port }, onConnect).setMaxListeners(0);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    return socket;
  };

  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.destroy(new Error('cut'));
  }
}

export function openLogForTests(broker: KafkaBroker, over: Partial<KafkaSpanLogOptions> = {}): Promise<SpanLog> {
  return openKafkaSpanLog({
    brokers: [broker.brokers],
    clientId: 'test',
    clock: realClock,
    logger: silentLogger,
    registry: new Registry(),
    entryBytesMax: 1024 * 1024,
    sessionMs: 2_000,
    heartbeatMs: 100,
    ...over,
  });
}
