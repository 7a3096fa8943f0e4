import type { Clock } from '../../global/runtime/clock.js';
import { messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { KafkaAsker } from './kafka-asker.js';
import {
  ASSIGNMENT_PROTOCOL,
  assignGroup,
  decodeAssignment,
  decodeTopics,
  encodeAssignment,
  encodeTopics,
  type MemberAssignment,
} from './kafka-assignment.js';
import { isMembershipLost, isRebalance, kafkaErrorType } from './kafka-errors.js';
import type { KafkaLimits } from './kafka-limits.js';

/** Why a generation of a group is over for this member. */
export type GenerationEnd = 'rebalance' | 'lost' | 'stop';

/** One generation of a group: who owns what until somebody joins, leaves or is lost. */
export interface Generation {
  readonly generationId: number;
  readonly memberId: string;
  readonly assignment: MemberAssignment;
}

export interface MembershipOptions {
  readonly asker: KafkaAsker;
  readonly group: string;
  readonly topics: readonly string[];
  readonly partitions: (topic: string) => Promise<number>;
  readonly limits: KafkaLimits;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A member of a consumer group as the coordinator sees it: joins, stays by heartbeats, leaves. */
export class KafkaMembership {
  #memberId = '';

  constructor(private readonly options: MembershipOptions) {}

  /** Joins, or joins again after a generation has ended; waits for the other members. The group's leader shares the partitions out. */
  async join(): Promise<Generation> {
    const { asker, group, topics, limits } = this.options;
    try {
      return await asker.askGroup(`joining group ${group}`, group, async (coordinator) => {
        const joined = await coordinator.joinGroup({
          groupId: group,
          memberId: this.#memberId,
          sessionTimeout: limits.sessionMs,
          rebalanceTimeout: limits.rebalanceMs,
          groupProtocols: [{ name: ASSIGNMENT_PROTOCOL, metadata: encodeTopics(topics) }],
        });
        const { memberId, generationId, leaderId, members } = joined;
        this.#memberId = memberId;
        const groupAssignment = leaderId === memberId ? await this.#assign(members) : [];
        const { memberAssignment } = await coordinator.syncGroup({
          groupId: group,
          memberId,
          generationId,
          groupAssignment,
        });
        return { memberId, generationId, assignment: decodeAssignment(memberAssignment) };
      });
    } catch (error) {
      if (kafkaErrorType(error) === 'UNKNOWN_MEMBER_ID') this.#memberId = '';
      throw error;
    }
  }

  /**
   * Sends heartbeats until the generation is over for this member or the signal aborts (`stop`). `until: 'lost'` goes on while the group
   * waits for this member to join again: for as long as it still has to let go of its partitions.
   */
  async heartbeats(generation: Generation, until: 'rebalance' | 'lost', signal: AbortSignal): Promise<GenerationEnd> {
    const { asker, group, limits, clock, logger } = this.options;
    let aliveMs = clock.monotonicMs();
    while (!signal.aborted) {
      try {
        const coordinator = await asker.cluster.findGroupCoordinator({ groupId: group });
        const { memberId, generationId } = generation;
        const sentMs = clock.monotonicMs();
        await coordinator.heartbeat({ groupId: group, memberId, groupGenerationId: generationId });
        aliveMs = sentMs;
      } catch (error) {
        if (signal.aborted) break;
        if (isRebalance(error)) {
          if (until === 'rebalance') return 'rebalance';
          aliveMs = clock.monotonicMs();
        } else if (isMembershipLost(error)) {
          if (kafkaErrorType(error) === 'UNKNOWN_MEMBER_ID') this.#memberId = '';
          return 'lost';
        } else {
          logger.warn({ group, error: messageOf(error) }, 'a heartbeat failed');
          // Silent for a session: the coordinator gives the partitions to others, or has nobody to tell.
          if (clock.monotonicMs() - aliveMs > limits.sessionMs) return 'lost';
          await asker.recover(error);
        }
      }
      await clock.sleep(limits.heartbeatMs, signal);
    }
    return 'stop';
  }

  /** The others need not wait for the session to end. Does not reject. */
  async leave(): Promise<void> {
    if (this.#memberId === '') return;
    const { asker, group } = this.options;
    try {
      const coordinator = await asker.cluster.findGroupCoordinator({ groupId: group });
      await coordinator.leaveGroup({ groupId: group, memberId: this.#memberId });
    } catch (error) {
      this.options.logger.warn(
        { group, error: messageOf(error) },
        'leaving a group failed; it goes on when the session is over',
      );
    }
    this.#memberId = '';
  }

  async #assign(members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[]) {
    const all = members.map(({ memberId, memberMetadata }) => ({ memberId, topics: decodeTopics(memberMetadata) }));
    const partitions = new Map<string, number>();
    for (const topic of new Set(all.flatMap(({ topics }) => topics))) {
      partitions.set(topic, await this.options.partitions(topic));
    }
    return [...assignGroup(all, partitions)].map(([memberId, assignment]) => ({
      memberId,
      memberAssignment: encodeAssignment(assignment),
    }));
  }
}
