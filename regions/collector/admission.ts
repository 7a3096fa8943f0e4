import { MeridianError } from '../../global/runtime/errors.js';

export interface AdmissionLimits {
  /** Bytes of bodies (inflated) that may be in the collector at once, from reading to acknowledgement. */
  readonly inFlightBytesMax: number;
  readonly inFlightRequestsMax: number;
}

/** One request's share of the room. Held from its first byte until it is answered; `leave` is safe to call twice. */
export interface Ticket {
  /** Takes more bytes, or throws `overloaded` (retry later) and takes none. */
  grow(bytes: number): void;
  leave(): void;
}

/**
 * The one bound on what the collector holds: requests and bytes in flight. Beyond it a request is refused at once with
 * `overloaded`, so that memory stays bounded however slow the log is.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  #bytes = 0;
  #requests = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  get inFlightBytes(): number {
    return this.#bytes;
  }

  get inFlightRequests(): number {
    return this.#requests;
  }

  /** Lets a request in that is known to bring at least `bytes`; throws `overloaded` (retry later) where there is no room. */
  enter(bytes = 0): Ticket {
    if (this.#requests >= this.#limits.inFlightRequestsMax) {
      throw new MeridianError(
        'overloaded',
        `the collector holds ${this.#requests} requests, its limit (inFlightRequestsMax)`,
        'later',
      );
    }
    this.#take(bytes);
    this.#requests++;
    let held = bytes;
    let open = true;
    return {
      grow: (more) => {
        if (!open) return;
        this.#take(more);
        held += more;
      },
      leave: () => {
        if (!open) return;
        open = false;
        this.#bytes -= held;
        this.#requests--;
      },
    };
  }

  #take(bytes: number): void {
    if (this.#bytes + bytes > this.#limits.inFlightBytesMax) {
      throw new MeridianError(
        'overloaded',
        `the collector holds ${this.#bytes} bytes and has no room for ${bytes} more (inFlightBytesMax ${this.#limits.inFlightBytesMax})`,
        'later',
      );
    }
    this.#bytes += bytes;
  }
}
