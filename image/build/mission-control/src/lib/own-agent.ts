// Added to Mission Control's page: the agent of the signed-in person.
import { useMutation, useQuery } from "convex/react";
import { anyApi } from "convex/server";
import { useEffect } from "react";

/** The person's agent among all. Creates it if there is none. */
export function useOwnAgent<Agent extends { _id: string }>(agents: Agent[] | undefined) {
  const own = useQuery(anyApi.people.own, {});
  const join = useMutation(anyApi.people.join);
  useEffect(() => {
    if (own === null) void join({});
  }, [own, join]);
  return agents?.find((agent) => agent._id === own);
}
