// Added to Mission Control's page: whom the signed-in person acts as.
import { useMutation, useQuery } from "convex/react";
import { anyApi } from "convex/server";
import { useEffect } from "react";

/** The person's own agent among all; it is made when there is none. */
export function useOwnAgent<Agent extends { _id: string }>(agents: Agent[] | undefined) {
  const own = useQuery(anyApi.people.own, {});
  const join = useMutation(anyApi.people.join);
  useEffect(() => {
    if (own === null) void join({});
  }, [own, join]);
  return agents?.find((agent) => agent._id === own);
}
