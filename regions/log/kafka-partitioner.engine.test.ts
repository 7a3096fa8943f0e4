import { createCipheriv } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { tracePartition } from '../../global/log/partition.js';
import { ensureKafka } from '../../scripts/engines/kafka-broker.js';
import { enginesCache, run } from '../../scripts/engines/maven-jars.js';

/** What Kafka's own producer does with a key: `BuiltInPartitioner.partitionForKey`. */
const JAVA = `
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
public class Partitions {
  public static void main(String[] args) {
    int partitions = Integer.parseInt(args[1]);
    byte[] all = java.util.HexFormat.of().parseHex(args[0]);
    StringBuilder out = new StringBuilder();
    for (int at = 0; at < all.length; at += 16)
      out.append(BuiltInPartitioner.partitionForKey(java.util.Arrays.copyOfRange(all, at, at + 16), partitions)).append(' ');
    System.out.println(out);
  }
}
`;

test('a trace goes to the partition that Kafka’s own Java producer gives its id', { timeout: 120_000 }, async () => {
  const { jars } = await ensureKafka({
    cacheFolder: enginesCache(process.env),
    onProgress: (line) => console.log(line),
  });
  const folder = mkdtempSync(join(tmpdir(), 'meridian-partitioner-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'Partitions.java'), JAVA);
  const ids = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(16 * 1_000));
  for (const partitions of [1, 7, 64, 100]) {
    const { code, tail } = await run(
      'java',
      ['-cp', jars.join(delimiter), 'Partitions.java', ids.toString('hex'), String(partitions)],
      { folder, budgetMs: 60_000, line: () => {}, tailMax: 10_000 },
    );
    expect(code, tail).toBe(0);
    const ours = Array.from({ length: 1_000 }, (_, i) => tracePartition(ids, i * 16, partitions));
    expect(tail.split('\n').at(-1)!.trim().split(' ').map(Number)).toEqual(ours);
  }
});
