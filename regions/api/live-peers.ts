import { lookup } from 'node:dns/promises';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { LivePeer } from './live-peer.js';

/** Processes of one region that are asked; what a name resolves to beyond it is left out, and the answers are then partial. */
export const PEERS_MAX = 64;
/** How long an answer of the name service is used. */
export const DNS_MS = 1_000;

export interface LivePeersOptions {
  /** `host:port`, or `dns:name:port` for all addresses of a name. */
  readonly peers: readonly string[];
  readonly connect: (address: string) => LivePeer;
  readonly clock: Clock;
  readonly logger: Logger;
  /** All addresses of a name; default: the system's resolver. */
  readonly resolve?: (name: string) => Promise<readonly string[]>;
}

interface Name {
  readonly name: string;
  readonly port: string;
  addresses: readonly string[];
  /** Monotonic; null before the first answer. */
  resolvedMs: number | null;
  resolving: Promise<void> | null;
}

/** The other processes of this region, as configured and as the name service says now. A channel is kept for as long as its address is named. */
export class LivePeers {
  readonly #options: LivePeersOptions;
  readonly #fixed: readonly string[];
  readonly #names: readonly Name[];
  readonly #peers = new Map<string, LivePeer>();
  /** Addresses at which this process itself answered. */
  readonly #self = new Set<string>();

  /** Throws `configuration` for an entry that makes no sense, or too many. */
  constructor(options: LivePeersOptions) {
    this.#options = options;
    if (options.peers.length > PEERS_MAX) {
      const message = `peers: ${options.peers.length} processes are named; at most ${PEERS_MAX} can be asked`;
      throw new MeridianError('configuration', message, 'never');
    }
    const parsed = options.peers.map(parsePeer);
    this.#fixed = parsed.filter((peer) => peer.kind === 'address').map(({ host, port }) => `${host}:${port}`);
    this.#names = parsed
      .filter((peer) => peer.kind === 'name')
      .map(({ host, port }) => ({ name: host, port, addresses: [], resolvedMs: null, resolving: null }));
  }

  /** Whether any were configured. */
  get isEmpty(): boolean {
    return this.#fixed.length === 0 && this.#names.length === 0;
  }

  /** Those to ask now. Waits for the name service only where it has never answered. */
  async current(): Promise<readonly LivePeer[]> {
    for (const name of this.#names) {
      const resolving = this.#resolved(name);
      if (name.resolvedMs === null) await resolving;
    }
    const addresses = [
      ...new Set([
        ...this.#fixed,
        ...this.#names.flatMap(({ port, addresses: hosts }) =>
          hosts.map((host) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)),
        ),
      ]),
    ];
    if (addresses.length > PEERS_MAX) {
      this.#options.logger.warn({ addresses: addresses.length, asked: PEERS_MAX }, 'more peers than can be asked');
    }
    this.#keep(addresses.slice(0, PEERS_MAX));
    return [...this.#peers.values()].filter(({ address }) => !this.#self.has(address));
  }

  /** This process answered there: it need not be asked. */
  isSelf(address: string): void {
    this.#self.add(address);
  }

  close(): void {
    this.#keep([]);
  }

  #keep(addresses: readonly string[]): void {
    for (const [address, peer] of this.#peers) {
      if (addresses.includes(address)) continue;
      this.#peers.delete(address);
      this.#self.delete(address);
      peer.close();
    }
    for (const address of addresses) {
      if (!this.#peers.has(address)) this.#peers.set(address, this.#options.connect(address));
    }
  }

  #resolved(name: Name): Promise<void> {
    const { clock } = this.#options;
    if (name.resolvedMs !== null && clock.monotonicMs() - name.resolvedMs < DNS_MS) return Promise.resolve();
    name.resolving ??= this.#resolve(name).finally(() => {
      name.resolving = null;
    });
    return name.resolving;
  }

  /** Where the name service fails, what it said last goes on to be used. */
  async #resolve(name: Name): Promise<void> {
    const { clock, logger, resolve = systemResolver } = this.#options;
    try {
      name.addresses = [...new Set(await resolve(name.name))].sort();
      name.resolvedMs = clock.monotonicMs();
    } catch (error) {
      logger.warn(
        { name: name.name, error: messageOf(error) },
        'the name of the peers of this region does not resolve',
      );
    }
  }
}

async function systemResolver(name: string): Promise<readonly string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}

/** Throws `configuration`. */
function parsePeer(text: string): { kind: 'address' | 'name'; host: string; port: string } {
  const match = /^(dns:)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})$/.exec(text);
  const port = match ? Number(match[3]) : 0;
  if (!match || port < 1 || port > 65_535) {
    const shown = text.slice(0, 80);
    throw new MeridianError('configuration', `peers: "${shown}" is neither host:port nor dns:name:port`, 'never');
  }
  return { kind: match[1] ? 'name' : 'address', host: match[2]!, port: match[3]! };
}
