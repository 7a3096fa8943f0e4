import { REDIS_OPTIONS, redisRecordsPerDayExpected } from '../../global/index/redis-options.js';
import { choice, flag, integer, list, type OptionValues, optionalText, text } from '../../global/runtime/options.js';

/** Which engines a region keeps its data in, and where they are. */
export const ENGINE_OPTIONS = {
  log: choice({
    help: 'what the log is',
    default: 'embedded',
    choices: ['embedded', 'kafka'] as const,
  }),
  kafkaBrokers: list({
    help: "host:port of some brokers of the region's Kafka; default: those that the fleet names for the region",
    default: [],
  }),
  kafkaReplicationFactor: integer({ help: 'copies of each topic that is made', default: 3, min: 1, max: 10 }),
  kafkaMinInsyncReplicas: integer({
    help: 'copies that have a record before it counts as durable',
    default: 2,
    min: 1,
    max: 10,
  }),
  kafkaTls: flag({ help: 'TLS to the brokers', default: false }),
  kafkaCaFile: optionalText({ help: 'root certificates (PEM) of the brokers; default: those of Node' }),
  kafkaUser: optionalText({ help: 'user name (SASL); default: none is asked for' }),
  kafkaPasswordFile: optionalText({ help: 'file with that password' }),
  kafkaMechanism: choice({
    help: 'how the password is proved',
    default: 'scram-sha-512',
    choices: ['plain', 'scram-sha-256', 'scram-sha-512'] as const,
  }),
  store: choice({
    help: 'what the store is',
    default: 'embedded',
    choices: ['embedded', 'elasticsearch'] as const,
  }),
  elasticsearchNodes: list({ help: 'URLs of the nodes of Elasticsearch 8', default: [] }),
  elasticsearchIndexPrefix: text({
    help: 'what the names of indices, aliases and the template begin with',
    default: 'meridian',
  }),
  elasticsearchReplicas: integer({
    help: 'copies of each index beside the first; 0 on a single node',
    default: 1,
    min: 0,
    max: 10,
  }),
  elasticsearchUser: optionalText({ help: 'user name; default: none is asked for' }),
  elasticsearchPasswordFile: optionalText({ help: 'file with that password' }),
  elasticsearchCaFile: optionalText({ help: 'root certificates (PEM) of the nodes; default: those of Node' }),
  index: choice({
    help: 'what the index is',
    default: 'embedded',
    choices: ['embedded', 'redis'] as const,
  }),
  ...REDIS_OPTIONS,
  redisRecordsPerDayExpected,
} as const;

export type EngineConfig = OptionValues<typeof ENGINE_OPTIONS>;
